"""Reading `provider/model` strings: text alone, with no knowledge of which providers exist.

Only the first slash separates, because the names of many models hold slashes themselves
(`huggingface/meta-llama/Llama-3.1-8B-Instruct`). The provider is compared without regard to case and to
`-` or `_`; the model's name is the provider's own and is not touched. What a provider's aliases are is known to
`perdure.providers.catalogue` alone.
"""

import re

from perdure.core.errors import DefinitionError
from perdure.core.model import ModelRef

_PROVIDER = re.compile(r"[a-z0-9][a-z0-9_]*")
_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s]*")
_FIX = "Write it as provider/model, for example openai/gpt-5-mini, anthropic/claude-sonnet-4-5 or mock/echo."


def parse_model(text: str, base_url: str | None = None) -> ModelRef:
    """The model that *text* names.

    Args:
        text: `provider/model`; everything after the first slash is the model's name.
        base_url: another address of the provider's server, http or https, without a query.

    Raises:
        DefinitionError: E0107 the text is not `provider/model`, or the address is not one.
    """
    provider, slash, name = text.strip().partition("/")
    provider = provider.strip().lower().replace("-", "_")
    name = name.strip()
    if not slash or not name or not _PROVIDER.fullmatch(provider) or not _is_plain(name):
        raise DefinitionError("E0107", f"The model {text!r} is not written as provider/model", fix=_FIX)
    if base_url is not None and not _ADDRESS.fullmatch(base_url):
        raise DefinitionError(
            "E0107",
            f"The base_url {base_url!r} of the model {text!r} is not an http or https address",
            fix="Give the address up to the version, for example http://127.0.0.1:8080/v1.",
        )
    return ModelRef(provider, name, base_url)


def _is_plain(name: str) -> bool:
    """Whether the name can go into an address and a log line: printable, without spaces."""
    return name.isprintable() and not any(c.isspace() for c in name)
