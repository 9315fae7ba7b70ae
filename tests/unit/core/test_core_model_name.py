"""`provider/model` strings."""

import pytest

from perdure.core.errors import DefinitionError
from perdure.core.model import ModelRef
from perdure.core.model_name import parse_model


@pytest.mark.parametrize(
    ("text", "provider", "name"),
    [
        ("openai/gpt-5-mini", "openai", "gpt-5-mini"),
        (" Azure-OpenAI / my-deployment ", "azure_openai", "my-deployment"),
        ("huggingface/meta-llama/Llama-3.1-8B", "huggingface", "meta-llama/Llama-3.1-8B"),
        ("ollama/qwen3:4b", "ollama", "qwen3:4b"),
    ],
)
def test_only_the_first_slash_separates(text: str, provider: str, name: str):
    """The provider is put into one spelling; the model's name is not touched."""
    assert parse_model(text) == ModelRef(provider, name)


@pytest.mark.parametrize(
    "text", ["", "gpt-5", "/gpt-5", "openai/", "open ai/x", "openai/a b", "openai/a\nb", "öpen/x"]
)
def test_anything_else_is_refused_with_an_example(text: str):
    """E0107 says how to write it."""
    with pytest.raises(DefinitionError, match="E0107") as caught:
        parse_model(text)
    assert "openai/" in caught.value.fix


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("https://models.example", True),
        ("127.0.0.1:8080", False),
        ("ftp://models.example", False),
        ("https://", False),
        ("", False),
    ],
)
def test_another_address_is_http_or_https(address: str, good: bool):
    """An address that is none is refused before anything is called."""
    if good:
        assert parse_model("openai/x", address) == ModelRef("openai", "x", address)
    else:
        with pytest.raises(DefinitionError, match="base_url"):
            parse_model("openai/x", address)
