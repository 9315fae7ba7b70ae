"""What the wires have in common: HTTP clients with our limits, and the mapping of reasoning settings."""

from typing import Any

import httpx2
import msgspec

from perdure.core.model import ModelSettings

CONNECT_SECONDS = 15.0
# Between two pieces of an answer. The whole call is bounded by the agent's own `model_timeout_ms`.
READ_SECONDS = 600.0
MAX_CONNECTIONS = 1000
MAX_IDLE_CONNECTIONS = 100

_EFFORT_BUDGETS = ((1024, "minimal"), (4096, "low"), (16384, "medium"))


def http_client() -> httpx2.AsyncClient:
    """A client with our limits; whoever makes it closes it."""
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS),
    )


def effort(settings: ModelSettings) -> str | None:
    """How hard the model shall think; a budget of tokens is turned into the nearest level."""
    if settings.reasoning_effort is not None or settings.thinking_budget_tokens is None:
        return settings.reasoning_effort
    return next((name for limit, name in _EFFORT_BUDGETS if settings.thinking_budget_tokens <= limit), "high")


class VendorTuning(msgspec.Struct, frozen=True):
    """What differs between vendors besides the protocol itself; this class is one with nothing special.

    Attributes:
        prefixes: settings whose names begin so are this vendor's.
        free: whether other settings go into the request's body as they are.
        schema: whether the provider itself can hold a streamed answer to a JSON Schema.
        schema_with_tools: whether it can do so while tools are offered.
    """

    prefixes: tuple[str, ...]
    free: bool = False
    schema: bool = True
    schema_with_tools: bool = True

    def reasoning(self, settings: ModelSettings) -> dict[str, Any]:
        """The library's one setting for all vendors, left out where the model does not reason."""
        level = effort(settings)
        return {} if level is None else {"thinking": level}

    def native_schema(self, profile: dict[str, Any], *, has_tools: bool) -> bool:
        """Whether the model's profile says so, and tools do not stand in the way."""
        if not self.schema or (has_tools and not self.schema_with_tools):
            return False
        return bool(profile.get("supports_json_schema_output"))
