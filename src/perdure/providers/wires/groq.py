"""Groq's chat completions. Its library still speaks over the older httpx."""

from collections.abc import Callable

import httpx
from groq import AsyncGroq
from pydantic_ai.models.groq import GroqModel
from pydantic_ai.providers.groq import GroqProvider

from perdure.providers.catalogue import Access
from perdure.providers.tuning import CONNECT_SECONDS, READ_SECONDS, VendorTuning
from perdure.providers.vendor import VendorWire


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to Groq."""
    http = httpx.AsyncClient(timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS))
    client = AsyncGroq(api_key=access.key, base_url=access.base_url, http_client=http, max_retries=0)
    provider = GroqProvider(groq_client=client)
    # Groq does not hold an answer to a schema while it streams.
    tuning = VendorTuning(("groq_",), schema=False)
    return VendorWire(lambda name: GroqModel(name, provider=provider), http.aclose, tuning, now_ms)
