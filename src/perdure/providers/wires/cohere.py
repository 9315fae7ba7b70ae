"""Cohere's chat, version 2. Its library still speaks over the older httpx."""

from collections.abc import Callable

import httpx
from cohere import AsyncClientV2
from pydantic_ai.models.cohere import CohereModel
from pydantic_ai.providers.cohere import CohereProvider

from perdure.providers.catalogue import Access
from perdure.providers.tuning import CONNECT_SECONDS, READ_SECONDS, VendorTuning
from perdure.providers.vendor import VendorWire


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to Cohere."""
    http = httpx.AsyncClient(timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS))
    client = AsyncClientV2(api_key=access.key, base_url=access.base_url, httpx_client=http, max_retries=0)
    provider = CohereProvider(cohere_client=client)
    tuning = VendorTuning(("cohere_",), schema=False)
    return VendorWire(lambda name: CohereModel(name, provider=provider), http.aclose, tuning, now_ms)
