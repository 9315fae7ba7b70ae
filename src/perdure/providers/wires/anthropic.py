"""Anthropic's messages."""

from collections.abc import Callable
from typing import Any

from anthropic import AsyncAnthropic
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from perdure.core.model import ModelSettings
from perdure.providers.catalogue import Access
from perdure.providers.tuning import VendorTuning, http_client
from perdure.providers.vendor import VendorWire


class _Tuning(VendorTuning, frozen=True):
    """A budget of tokens is Anthropic's own setting."""

    def reasoning(self, settings: ModelSettings) -> dict[str, Any]:
        if settings.thinking_budget_tokens is None:
            return VendorTuning.reasoning(self, settings)
        return {"anthropic_thinking": {"type": "enabled", "budget_tokens": settings.thinking_budget_tokens}}


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to Anthropic."""
    http = http_client()
    client = AsyncAnthropic(api_key=access.key, base_url=access.base_url, http_client=http, max_retries=0)
    provider = AnthropicProvider(anthropic_client=client)
    tuning = _Tuning(("anthropic_",))
    return VendorWire(lambda name: AnthropicModel(name, provider=provider), http.aclose, tuning, now_ms)
