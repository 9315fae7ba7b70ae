"""Google's generateContent: the Gemini API with a key, and Vertex AI with a service account."""

from collections.abc import Callable
from typing import Any

import google.auth
import google.auth.credentials
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.google_cloud import GoogleCloudProvider

from perdure.core.model import ModelSettings
from perdure.providers.catalogue import Access
from perdure.providers.vendor import VendorWire
from perdure.providers.wires.tuning import VendorTuning, http_client

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
    tuning = _Tuning(("google_",))
    return VendorWire(lambda name: GoogleModel(name, provider=provider), http.aclose, tuning, now_ms)


def _credentials(path: str) -> google.auth.credentials.Credentials:
    """The credentials in a file: a service account, a workload identity or a user's own."""
    credentials, _project = google.auth.load_credentials_from_file(path, scopes=list(_SCOPES))
    return credentials
