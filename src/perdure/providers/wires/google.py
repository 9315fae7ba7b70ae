"""Google's generateContent: the Gemini API with a key, and Vertex AI with a service account."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.auth import identity_pool
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.oauth2 import credentials as oauth2_credentials
from google.oauth2 import service_account
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.google_cloud import GoogleCloudProvider

from perdure.core.model import ModelSettings
from perdure.providers.catalogue import Access
from perdure.providers.tuning import VendorTuning, http_client
from perdure.providers.vendor import VendorWire

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_DEFAULT_LOCATION = "global"


class _Tuning(VendorTuning, frozen=True):
    """A budget of tokens is Google's own setting; schema and tools together only where the model can."""

    def reasoning(self, settings: ModelSettings) -> dict[str, Any]:
        if settings.thinking_budget_tokens is None:
            return VendorTuning.reasoning(self, settings)
        config = {"thinking_budget": settings.thinking_budget_tokens, "include_thoughts": True}
        return {"google_thinking_config": config}

    def native_schema(self, profile: dict[str, Any], *, has_tools: bool) -> bool:
        if has_tools and not profile.get("google_supports_tool_combination"):
            return False
        return VendorTuning.native_schema(self, profile, has_tools=has_tools)


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to the Gemini API or to Vertex AI."""
    http = http_client()
    if access.provider.name == "vertex_ai":
        provider: GoogleProvider | GoogleCloudProvider = GoogleCloudProvider(
            credentials=_credentials(access.first("GOOGLE_APPLICATION_CREDENTIALS")),
            project=access.first("GOOGLE_CLOUD_PROJECT"),
            location=access.first("GOOGLE_CLOUD_LOCATION", default=_DEFAULT_LOCATION),
            base_url=access.base_url or None,
            http_client=http,
        )
    else:
        provider = GoogleProvider(api_key=access.key, base_url=access.base_url, http_client=http)
    # A token is fetched on the way to the call.
    known = ((TransportError, "E0207"), (GoogleAuthError, "E0205"))
    tuning = _Tuning(("google_",))
    return VendorWire(lambda name: GoogleModel(name, provider=provider), http.aclose, tuning, now_ms, known)


def _credentials(path: str) -> Credentials:
    """The credentials in a file: a service account, a workload identity or a user's own.

    Each kind by its own loader: the general one takes any kind from any source.
    """
    info = json.loads(Path(path).read_bytes())
    loaders: dict[str, Callable[..., Any]] = {
        "service_account": service_account.Credentials.from_service_account_info,
        "authorized_user": oauth2_credentials.Credentials.from_authorized_user_info,
        "external_account": identity_pool.Credentials.from_info,
    }
    kind = info.get("type")
    if kind not in loaders:
        raise ValueError(f"{path} holds credentials of the kind {kind!r}; usable are {', '.join(loaders)}")
    credentials: Credentials = loaders[kind](info, scopes=list(_SCOPES))
    return credentials
