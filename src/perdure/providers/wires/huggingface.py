"""Hugging Face's router of inference providers."""

from collections.abc import Callable

from huggingface_hub import AsyncInferenceClient
from pydantic_ai.models.huggingface import HuggingFaceModel
from pydantic_ai.providers.huggingface import HuggingFaceProvider

from perdure.providers.catalogue import Access
from perdure.providers.vendor import VendorWire
from perdure.providers.wires.tuning import READ_SECONDS, VendorTuning


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to the router, or to an endpoint of one's own."""
    client = AsyncInferenceClient(api_key=access.key, base_url=access.base_url, timeout=READ_SECONDS)
    provider = HuggingFaceProvider(hf_client=client, api_key=access.key)
    tuning = VendorTuning(("huggingface_",), retries=False, schema=False)
    return VendorWire(lambda name: HuggingFaceModel(name, provider=provider), client.close, tuning, now_ms)
