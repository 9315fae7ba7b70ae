"""The table of providers, the reading of `provider/model`, and what importing the package costs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import DefinitionError, ModelError
from perdure.core.model import ModelRef
from perdure.core.model_name import parse_model
from perdure.providers.catalogue import PROVIDERS, Provider, check_library, find_provider
from perdure.providers.models import ProviderModels

ROOT = Path(__file__).parents[3]


def test_the_first_slash_separates() -> None:
    """Everything after the first slash is the provider's own name of the model."""
    assert parse_model("openai/gpt-5") == ModelRef("openai", "gpt-5")
    assert parse_model(" HuggingFace/meta-llama/Llama-3 ") == ModelRef("huggingface", "meta-llama/Llama-3")
    assert parse_model("azure-openai/d", "http://h:1/v1").base_url == "http://h:1/v1"


@pytest.mark.parametrize(
    "text", ["", "gpt-5", "/gpt-5", "openai/", "open ai/x", "openai/a b", "openai/a\n", "ö/x"]
)
def test_malformed_models(text: str) -> None:
    """A text that is not provider/model is E0107 with an example in its fix."""
    if text == "openai/a\n":  # space around is forgiven
        assert parse_model(text).name == "a"
        return
    with pytest.raises(DefinitionError) as caught:
        parse_model(text)
    assert caught.value.code == "E0107"
    assert "openai/" in caught.value.fix


@pytest.mark.parametrize("url", ["", "h:1", "ftp://h", "http://", "http://a b"])
def test_malformed_addresses(url: str) -> None:
    """A base_url that is not an http address is E0107 as well."""
    with pytest.raises(DefinitionError) as caught:
        parse_model("openai/x", url)
    assert caught.value.code == "E0107"


def test_every_name_and_alias_is_unique_and_found() -> None:
    """No two providers share a name, and each is found by any of its own, in any spelling."""
    names = [name for p in PROVIDERS for name in (p.name, *p.aliases)]
    assert len(names) == len(set(names))
    for provider in PROVIDERS:
        for name in (provider.name, *provider.aliases):
            assert find_provider(name.upper().replace("_", "-")) is provider
            assert parse_model(f"{name}/x").provider == name
    wanted = (
        "openai anthropic google_gemini azure_openai google_vertex_ai aws_bedrock mistral cohere groq perplexity "
        "deepseek grok hugging_face stability_ai ollama mock openai_compatible"
    )
    assert len({find_provider(name).name for name in wanted.split()}) == 17


def test_an_unknown_provider_is_told_what_there_is() -> None:
    """E0201 lists the providers and guesses the one that was meant."""
    models = ProviderModels({}, SystemClock())
    with pytest.raises(ModelError) as caught:
        models.check(ModelRef("antropic", "claude"))
    assert caught.value.code == "E0201"
    assert "Did you mean anthropic?" in caught.value.fix
    assert "stability_ai" in caught.value.fix


def test_further_settings_that_are_missing_are_named() -> None:
    """A region, a project or an endpoint that is missing is named like a key."""
    cases = {
        "bedrock": ({"AWS_PROFILE": "p"}, "AWS_REGION"),
        "vertex": ({"GOOGLE_APPLICATION_CREDENTIALS": "x"}, "GOOGLE_CLOUD_PROJECT"),
        "azure": ({"AZURE_OPENAI_API_KEY": "k"}, "AZURE_OPENAI_ENDPOINT"),
        "openai_compatible": ({}, "OPENAI_COMPATIBLE_BASE_URL"),
    }
    for name, (environ, variable) in cases.items():
        with pytest.raises(ModelError) as caught:
            ProviderModels(environ, SystemClock()).check(ModelRef(name, "m"))
        assert caught.value.code == "E0202"
        assert variable in caught.value.fix
    ProviderModels({}, SystemClock()).check(ModelRef("openai_compatible", "m", "http://127.0.0.1:1/v1"))


def test_a_missing_library_is_e0203_with_the_extra() -> None:
    """The fix is the command that brings the library."""
    for library in (("no_such_library",), ("no_such_library.part",)):
        provider = Provider("anthropic", "anthropic", extra="anthropic", library=library)
        with pytest.raises(ModelError) as caught:
            check_library(provider, ModelRef("anthropic", "m"))
        assert caught.value.code == "E0203"
        assert caught.value.fix == "pip install 'perdure[anthropic]'"


def test_every_extra_is_in_pyproject_and_every_provider_in_the_documentation() -> None:
    """The table, the package's extras and docs/models.md say the same."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    page = (ROOT / "docs" / "models.md").read_text()
    for provider in PROVIDERS:
        if provider.extra:
            assert re.search(rf"^{provider.extra} = ", pyproject, re.MULTILINE), provider.extra
        assert f"`{provider.name}/" in page, provider.name
        for variable in (*(v for group in provider.keys for v in group), *provider.optional_keys):
            assert f"`{variable}`" in page, variable
        for names in (*provider.needs, provider.address_variables):
            assert all(f"`{name}`" in page for name in names), names


def test_importing_the_models_imports_no_vendor() -> None:
    """Neither the import nor a check nor a mock call loads the model library or a vendor's."""
    program = """
import sys, asyncio
from perdure.clock import SystemClock
from perdure.core.messages import user
from perdure.core.model import ModelRef, ModelRequest, ModelSettings
from perdure.providers.models import ProviderModels
models = ProviderModels({"OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k"}, SystemClock())
models.check(ModelRef("openai", "m"))
models.check(ModelRef("gemini", "m"))
request = ModelRequest("x", "m", 1, ModelRef("mock", "echo"), "", [user("Hi")], (), ModelSettings())
asyncio.run(models.complete(request, print))
loaded = {name.split(".")[0] for name in sys.modules} | {n for n in sys.modules if n.startswith("google.")}
print(loaded & {"pydantic_ai", "openai", "anthropic", "boto3", "httpx", "httpx2", "pydantic", "google.genai"})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
