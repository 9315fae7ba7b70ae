"""AWS Bedrock's Converse, over boto3 (which blocks: the library runs it in threads)."""

from collections.abc import Callable
from typing import Any

import anyio.to_thread
import boto3  # type: ignore[import-untyped]
from botocore import exceptions as aws  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]
from botocore.tokens import FrozenAuthToken  # type: ignore[import-untyped]
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.providers.bedrock import BedrockProvider

from perdure.core.model import ModelSettings
from perdure.providers.catalogue import Access
from perdure.providers.tuning import CONNECT_SECONDS, MAX_IDLE_CONNECTIONS, READ_SECONDS, VendorTuning
from perdure.providers.vendor import VendorWire


class _Tuning(VendorTuning, frozen=True):
    """A budget of tokens goes to Claude, in the way of its own protocol."""

    def reasoning(self, settings: ModelSettings) -> dict[str, Any]:
        if settings.thinking_budget_tokens is None:
            return VendorTuning.reasoning(self, settings)
        thinking = {"type": "enabled", "budget_tokens": settings.thinking_budget_tokens}
        return {"bedrock_additional_model_requests_fields": {"thinking": thinking}}


class _TokenSession(Session):  # type: ignore[misc] # botocore has no types
    """A session that signs in with a Bedrock key instead of with AWS credentials."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def get_auth_token(self, **_kwargs: Any) -> FrozenAuthToken:
        return FrozenAuthToken(self._token)

    def get_credentials(self) -> None:
        return None


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to Bedrock in one region."""
    client = _client(access)
    provider = BedrockProvider(bedrock_client=client)

    async def close() -> None:
        await anyio.to_thread.run_sync(client.close)

    # A profile or a role is looked up on the way to the call.
    sign_in = (aws.NoCredentialsError, aws.CredentialRetrievalError, aws.TokenRetrievalError)
    refused = (aws.ParamValidationError, aws.InvalidEndpointConfigurationError)
    known = (*((kind, "E0205") for kind in sign_in), *((kind, "E0204") for kind in refused))
    tuning = _Tuning(("bedrock_",))
    return VendorWire(
        lambda name: BedrockConverseModel(name, provider=provider), close, tuning, now_ms, known
    )


def _client(access: Access) -> Any:
    config: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": MAX_IDLE_CONNECTIONS,
    }
    region = access.first("AWS_REGION", "AWS_DEFAULT_REGION")
    token = access.variables.get("AWS_BEARER_TOKEN_BEDROCK")
    if token is not None:
        session = boto3.Session(botocore_session=_TokenSession(token), region_name=region)
        config["signature_version"] = "bearer"
    else:  # without the two keys, a profile or a role: botocore finds it as it always does
        session = boto3.Session(
            aws_access_key_id=access.variables.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=access.variables.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=access.variables.get("AWS_SESSION_TOKEN"),
            profile_name=access.variables.get("AWS_PROFILE"),
            region_name=region,
        )
    return session.client("bedrock-runtime", config=Config(**config), endpoint_url=access.base_url or None)
