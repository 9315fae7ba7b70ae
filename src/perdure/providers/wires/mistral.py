"""Mistral's chat completions."""

from collections.abc import Callable

from mistralai.client import Mistral
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.providers.mistral import MistralProvider

from perdure.providers.catalogue import Access
from perdure.providers.tuning import VendorTuning, http_client
from perdure.providers.vendor import VendorWire


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to Mistral."""
    http = http_client()
    client = Mistral(api_key=access.key, async_client=http, server_url=access.base_url)
    provider = MistralProvider(mistral_client=client)
    tuning = VendorTuning(("mistral_",), schema=False)
    return VendorWire(lambda name: MistralModel(name, provider=provider), http.aclose, tuning, now_ms)
