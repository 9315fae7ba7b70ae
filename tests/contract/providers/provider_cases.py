"""The providers under the contract: how each is named, configured and addressed, and which dialect it speaks."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.contract.providers.provider_dialects import (
    Anthropic,
    Bedrock,
    Chat,
    Cohere,
    Google,
    Groq,
    MistralChat,
    Xai,
)


@dataclass
class Case:
    """One provider. `path` is what the request's path must begin with, `auth` a header that it must have."""

    provider: str
    dialect: Any
    path: str
    auth: tuple[str, str]
    environ: dict[str, str]
    model: str = "m-1"
    base: str = ""  # what is appended to the fake server's address
    key_names: tuple[str, ...] = ()
    prepare: Callable[[dict[str, str], Path, str], None] = lambda _environ, _folder, _url: None
    native_schema: bool = True
    schema_with_tools: bool = True
    reasoning: bool = False  # the dialect's fake says its reasoning, and it must come back with the signature
    named_results: bool = False
    cut_frames: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


def _chat(provider: str, key: str, **kw: Any) -> Case:
    return Case(
        provider,
        kw.pop("dialect", Chat()),
        "/v1/chat/completions",
        ("authorization", "Bearer k-1"),
        {key: "k-1"},
        base="/v1",
        key_names=(key,),
        **kw,
    )


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _service_account(environ: dict[str, str], folder: Path, url: str) -> None:
    """A service account with a key of its own, whose tokens come from the fake server."""
    path = folder / "account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "p-1",
                "private_key_id": "1",
                "private_key": _private_key(),
                "client_email": "someone@p-1.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": f"{url}/token",
            }
        )
    )
    environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(path)


CASES = [
    _chat("openai", "OPENAI_API_KEY"),
    Case(
        "anthropic",
        Anthropic(),
        "/v1/messages",
        ("authorization", "Bearer k-1"),  # so does its library since version 2
        {"ANTHROPIC_API_KEY": "k-1"},
        model="claude-haiku-4-5",
        key_names=("ANTHROPIC_API_KEY",),
        reasoning=True,
    ),
    Case(
        "google_gemini",
        Google(),
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        ("x-goog-api-key", "k-1"),
        {"GEMINI_API_KEY": "k-1"},
        model="gemini-2.5-flash",
        key_names=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        schema_with_tools=False,
        reasoning=True,
        named_results=True,
    ),
    Case(
        "azure_openai",
        Chat(),
        "/openai/deployments/m-1/chat/completions?api-version=2024-10-21",
        ("api-key", "k-1"),
        {"AZURE_OPENAI_API_KEY": "k-1"},
        key_names=("AZURE_OPENAI_API_KEY",),
    ),
    Case(
        "vertex_ai",
        Google(),
        "/v1beta1/projects/p-1/locations/europe-west4/publishers/google/models/gemini-2.5-flash:streamGenerateContent",
        ("authorization", "Bearer token-1"),
        {"GOOGLE_CLOUD_PROJECT": "p-1", "GOOGLE_CLOUD_LOCATION": "europe-west4"},
        model="gemini-2.5-flash",
        key_names=("GOOGLE_APPLICATION_CREDENTIALS",),
        prepare=_service_account,
        schema_with_tools=False,
        reasoning=True,
        named_results=True,
    ),
    Case(
        "aws_bedrock",
        Bedrock(),
        "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream",
        ("authorization", "AWS4-HMAC-SHA256 Credential=AKIA1/"),
        {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "s-1", "AWS_REGION": "eu-west-1"},
        model="anthropic.claude-sonnet-4-5-20250929-v1:0",
        key_names=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        reasoning=True,
    ),
    Case(
        "mistral",
        MistralChat(),
        "/v1/chat/completions",
        ("authorization", "Bearer k-1"),
        {"MISTRAL_API_KEY": "k-1"},
        key_names=("MISTRAL_API_KEY",),
        native_schema=False,
    ),
    Case(
        "cohere",
        Cohere(),
        "/v2/chat",
        ("authorization", "Bearer k-1"),
        {"CO_API_KEY": "k-1"},
        key_names=("COHERE_API_KEY", "CO_API_KEY"),
        native_schema=False,
    ),
    Case(
        "groq",
        Groq(),
        "/openai/v1/chat/completions",
        ("authorization", "Bearer k-1"),
        {"GROQ_API_KEY": "k-1"},
        key_names=("GROQ_API_KEY",),
        native_schema=False,
    ),
    _chat("perplexity", "PERPLEXITY_API_KEY"),
    _chat("deepseek", "DEEPSEEK_API_KEY", model="deepseek-reasoner", native_schema=False, reasoning=True),
    _chat("xai", "XAI_API_KEY", dialect=Xai(), model="grok-4"),
    _chat(
        "huggingface",
        "HF_TOKEN",
        model="meta-llama/Llama-3.3-70B-Instruct",
        native_schema=False,
    ),
    _chat("ollama", "OLLAMA_API_KEY", model="qwen3:8b", schema_with_tools=False),
    _chat("openai_compatible", "OPENAI_COMPATIBLE_API_KEY", model="meta-llama/any", schema_with_tools=False),
]
