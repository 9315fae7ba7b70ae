"""OpenAI's chat completions: OpenAI, Azure, DeepSeek, xAI, Perplexity, Ollama, Hugging Face, any compatible server.

Hugging Face's router has a library of its own, which is not used: with `huggingface_hub` 1.16 an error of a streamed
call cannot be read (its class is lost), and every streamed call leaves an entry in the client until it is closed.
"""

from collections.abc import Callable
from typing import Any

import httpx2
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles import merge_profile
from pydantic_ai.profiles.grok import grok_model_profile
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider
from pydantic_ai.providers.azure import AzureProvider
from pydantic_ai.providers.deepseek import DeepSeekProvider
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from perdure.core.model import ModelSettings
from perdure.providers.catalogue import Access
from perdure.providers.tuning import VendorTuning, effort, http_client
from perdure.providers.vendor import VendorWire

AZURE_API_VERSION = "2024-10-21"
_NO_KEY = "not-needed"  # the client insists on one; a server without keys ignores it

# Every stream of ours ends with a reason: one that does not was cut off.
_CUT = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
# Servers that know `max_tokens` only.
_OLD_LIMIT = OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False)
# A grammar for the answer shuts out tool calls in these.
_ONE_OR_THE_OTHER = frozenset({"ollama", "openai_compatible", "huggingface"})


class _ChatTuning(VendorTuning, frozen=True):
    """Reasoning effort is sent as asked: names of models say little about what a compatible server can do."""

    def reasoning(self, settings: ModelSettings) -> dict[str, Any]:
        level = effort(settings)
        return {} if level is None else {"openai_reasoning_effort": level}


def connect(access: Access, now_ms: Callable[[], int]) -> VendorWire:
    """A connection to the provider of *access*."""
    http = http_client()
    client = _client(access, http)
    name = access.provider.name
    provider = _provider(name, client)
    model_class = OllamaModel if name == "ollama" else OpenAIChatModel

    def build(model: str) -> OpenAIChatModel:
        return model_class(model, provider=provider, profile=_profile(name, model))

    kind = VendorTuning if name == "deepseek" else _ChatTuning
    tuning = kind(("openai_",), free=True, schema_with_tools=name not in _ONE_OR_THE_OTHER)
    return VendorWire(build, http.aclose, tuning, now_ms)


def _client(access: Access, http: httpx2.AsyncClient) -> AsyncOpenAI:
    key = access.key or _NO_KEY
    if access.provider.name == "azure_openai":
        return AsyncAzureOpenAI(
            azure_endpoint=access.base_url,
            api_key=key,
            api_version=access.first("OPENAI_API_VERSION", default=AZURE_API_VERSION),
            http_client=http,
            max_retries=0,
        )
    client = AsyncOpenAI(base_url=access.base_url, api_key=key, http_client=http, max_retries=0)
    # The client takes these from the process's environment, and would tell them to any server.
    client.organization = access.first("OPENAI_ORG_ID") or None
    client.project = access.first("OPENAI_PROJECT_ID") or None
    return client


def _provider(name: str, client: AsyncOpenAI) -> Provider[AsyncOpenAI]:
    match name:
        case "openai":
            return OpenAIProvider(openai_client=client)
        case "azure_openai" if isinstance(client, AsyncAzureOpenAI):
            return AzureProvider(openai_client=client)
        case "deepseek":
            return DeepSeekProvider(openai_client=client)
        case "ollama":
            return OllamaProvider(openai_client=client)
    return OpenAICompatibleProvider(name, openai_client=client)


def _profile(name: str, model: str) -> Any:
    match name:
        case "xai":
            return merge_profile(grok_model_profile(model), _CUT)
        case "perplexity" | "openai_compatible":  # whatever the name of the model makes the library think
            return merge_profile(_CUT, _OLD_LIMIT, OpenAIModelProfile(supports_json_schema_output=True))
        case "ollama" | "huggingface":
            return merge_profile(_CUT, _OLD_LIMIT)
    return _CUT
