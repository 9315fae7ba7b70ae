"""The providers as a table: names, wire, variables, address, library. Data, and look-ups over it; no vendor import.

A wire is a way of speaking: nine providers speak OpenAI's chat completions, the others their own. Each wire is one
module of `perdure.providers.wires`, imported when the first call over it is made.

Keys come from the environment that `ProviderModels` was given and from nowhere else. A key is bound to an address:
it goes to the provider's own address, to the one that the environment names (`*_BASE_URL`), and to hosts listed
in `PERDURE_MODEL_HOSTS`. An agent's own `base_url` that is none of these gets no key (E0202, or, where the key is
optional, a call without it), so that nobody who may define an agent can have a key sent to a host of their choice.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from urllib.parse import urlsplit

import msgspec

from perdure.core.errors import ModelError
from perdure.core.model import ModelRef

HOSTS_VARIABLE = "PERDURE_MODEL_HOSTS"


class Provider(msgspec.Struct, frozen=True):
    """One provider.

    Attributes:
        name: canonical, as in `provider/model`.
        wire: the module of `perdure.providers.wires` that speaks to it.
        extra: of this package; brings the library. None: nothing beyond this package's own needs.
        library: modules that must be importable.
        address: default base URL; empty when the library makes it (from a region) or the user must give it.
        address_variables: where the environment may name another one; the first that is set counts.
        keys: sets of variables, each enough to authenticate; the first complete one counts. Empty: no key needed.
        optional_keys: variables of a key that is sent when it is set.
        needs: further settings that must be there, each with its alternatives.
        aliases: other names for it.
    """

    name: str
    wire: str
    extra: str | None = None
    library: tuple[str, ...] = ()
    address: str = ""
    address_variables: tuple[str, ...] = ()
    keys: tuple[tuple[str, ...], ...] = ()
    optional_keys: tuple[str, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    aliases: tuple[str, ...] = ()


def _chat(name: str, address: str, key: str, *aliases: str) -> Provider:
    """A provider that speaks OpenAI's chat completions at an address of its own."""
    return Provider(
        name,
        "openai_chat",
        extra="openai",
        library=("pydantic_ai", "openai"),
        address=address,
        address_variables=(f"{name.upper()}_BASE_URL",),
        keys=((key,),),
        aliases=aliases,
    )


PROVIDERS: tuple[Provider, ...] = (
    _chat("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "open_ai"),
    Provider(
        "anthropic",
        "anthropic",
        extra="anthropic",
        library=("pydantic_ai", "anthropic"),
        address="https://api.anthropic.com",
        address_variables=("ANTHROPIC_BASE_URL",),
        keys=(("ANTHROPIC_API_KEY",),),
        aliases=("claude",),
    ),
    Provider(
        "google_gemini",
        "google",
        extra="google",
        library=("pydantic_ai", "google.genai"),
        address="https://generativelanguage.googleapis.com",
        address_variables=("GOOGLE_GEMINI_BASE_URL", "GEMINI_BASE_URL"),
        keys=(("GEMINI_API_KEY",), ("GOOGLE_API_KEY",)),
        aliases=("google", "gemini", "google_gla", "google_ai"),
    ),
    Provider(
        "azure_openai",
        "openai_chat",
        extra="openai",
        library=("pydantic_ai", "openai"),
        address_variables=("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"),
        keys=(("AZURE_OPENAI_API_KEY",),),
        needs=(("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"),),
        aliases=("azure", "azureopenai"),
    ),
    Provider(
        "vertex_ai",
        "google",
        extra="google",
        library=("pydantic_ai", "google.genai"),
        address_variables=("GOOGLE_VERTEX_BASE_URL",),
        keys=(("GOOGLE_APPLICATION_CREDENTIALS",),),
        needs=(("GOOGLE_CLOUD_PROJECT",),),
        aliases=("google_vertex_ai", "google_vertex", "vertex", "vertexai", "google_cloud"),
    ),
    Provider(
        "aws_bedrock",
        "bedrock",
        extra="bedrock",
        library=("pydantic_ai", "boto3"),
        address_variables=("AWS_ENDPOINT_URL_BEDROCK_RUNTIME",),
        keys=(
            ("AWS_BEARER_TOKEN_BEDROCK",),
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_PROFILE",),
            ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
        ),
        needs=(("AWS_REGION", "AWS_DEFAULT_REGION"),),
        aliases=("bedrock", "amazon_bedrock", "aws"),
    ),
    Provider(
        "mistral",
        "mistral",
        extra="mistral",
        library=("pydantic_ai", "mistralai"),
        address="https://api.mistral.ai",
        address_variables=("MISTRAL_BASE_URL",),
        keys=(("MISTRAL_API_KEY",),),
        aliases=("mistralai", "mistral_ai"),
    ),
    Provider(
        "cohere",
        "cohere",
        extra="cohere",
        library=("pydantic_ai", "cohere"),
        address="https://api.cohere.com",
        address_variables=("COHERE_BASE_URL", "CO_BASE_URL"),
        keys=(("COHERE_API_KEY",), ("CO_API_KEY",)),
    ),
    Provider(
        "groq",
        "groq",
        extra="groq",
        library=("pydantic_ai", "groq"),
        address="https://api.groq.com",
        address_variables=("GROQ_BASE_URL",),
        keys=(("GROQ_API_KEY",),),
    ),
    _chat("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", "pplx"),
    _chat("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", "deep_seek"),
    _chat("xai", "https://api.x.ai/v1", "XAI_API_KEY", "grok", "x_ai"),
    Provider(
        "huggingface",
        "openai_chat",  # its router speaks it; with its own library a stream's error loses its class
        extra="huggingface",
        library=("pydantic_ai", "openai"),
        address="https://router.huggingface.co/v1",
        address_variables=("HUGGINGFACE_BASE_URL",),
        keys=(("HF_TOKEN",), ("HUGGINGFACE_API_KEY",), ("HUGGING_FACE_HUB_TOKEN",)),
        aliases=("hugging_face", "hf"),
    ),
    Provider(
        "stability_ai",
        "stability",
        address="https://api.stability.ai",
        address_variables=("STABILITY_BASE_URL",),
        keys=(("STABILITY_API_KEY",),),
        aliases=("stability", "stabilityai"),
    ),
    Provider(
        "ollama",
        "openai_chat",
        extra="openai",
        library=("pydantic_ai", "openai"),
        address="http://127.0.0.1:11434/v1",
        address_variables=("OLLAMA_BASE_URL",),
        optional_keys=("OLLAMA_API_KEY",),
    ),
    Provider(
        "openai_compatible",
        "openai_chat",
        extra="openai",
        library=("pydantic_ai", "openai"),
        address_variables=("OPENAI_COMPATIBLE_BASE_URL",),
        optional_keys=("OPENAI_COMPATIBLE_API_KEY",),
        needs=(("OPENAI_COMPATIBLE_BASE_URL",),),
        aliases=("compatible", "openai_like", "local"),
    ),
    Provider("mock", "mock"),
)

_BY_NAME = {name: p for p in PROVIDERS for name in (p.name, *p.aliases)}
_IMPORTABLE: dict[str, bool] = {}


class Access(msgspec.Struct, frozen=True):
    """How one provider is reached: what a wire needs to know, read from the environment once.

    Attributes:
        base_url: where to call; empty when the library makes the address.
        settings: the variables of the key that counts, of `needs` and of further settings, with their values.
    """

    provider: Provider
    base_url: str
    settings: frozenset[tuple[str, str]]

    @property
    def variables(self) -> dict[str, str]:
        """The variables with their values."""
        return dict(self.settings)

    @property
    def key(self) -> str | None:
        """The first variable of the key, which is the whole of it for all providers but AWS."""
        names = [*(n for group in self.provider.keys for n in group), *self.provider.optional_keys]
        return self.first(*names) or None

    def first(self, *names: str, default: str = "") -> str:
        """The first of these variables that is set."""
        variables = self.variables
        return next((variables[n] for n in names if n in variables), default)


def find_provider(name: str) -> Provider:
    """The provider of this name or alias.

    Raises:
        ModelError: E0201 there is none; says which one may have been meant.
    """
    found = _BY_NAME.get(name.lower().replace("-", "_"))
    if found is not None:
        return found
    near = get_close_matches(name, _BY_NAME, n=1, cutoff=0.6)
    raise ModelError(
        "E0201",
        f"No provider is called {name!r}",
        fix=(f"Did you mean {near[0]}? " if near else "")
        + "There are: "
        + ", ".join(p.name for p in PROVIDERS)
        + ". Any other server that speaks OpenAI's protocol: openai_compatible with a base_url.",
    )


def resolve_access(
    provider: Provider, ref: ModelRef, environ: Mapping[str, str], configured: Mapping[str, str]
) -> Access:
    """How *ref* is reached with this environment; *configured* holds base URLs by canonical provider name.

    Raises:
        ModelError: E0202 the key, the address or another setting is missing; the fix names the variables.
    """
    known = configured.get(provider.name) or _first(environ, provider.address_variables) or provider.address
    base_url = ref.base_url or known
    bound = not ref.base_url or _is_bound(ref.base_url, known or provider.address, environ)
    key = next((group for group in provider.keys if all(environ.get(n) for n in group)), ())
    if provider.keys and not bound:
        raise _unbound(provider, ref)
    if provider.keys and not key:
        raise _missing(provider, ref, [" and ".join(group) for group in provider.keys], "key")
    variables = {n: environ[n] for n in (*key, *provider.optional_keys) if bound and environ.get(n)}
    for alternatives in provider.needs:
        found = next((n for n in alternatives if environ.get(n)), None)
        if found is None and not (base_url and set(alternatives) <= set(provider.address_variables)):
            raise _missing(provider, ref, list(alternatives), "setting")
        if found is not None:
            variables[found] = environ[found]
    for name in _FURTHER.get(provider.name, ()):
        if environ.get(name):
            variables.setdefault(name, environ[name])
    return Access(provider, base_url.rstrip("/"), frozenset(variables.items()))


# Settings that change how a provider is called, and that nobody must give.
_FURTHER: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    "azure_openai": ("OPENAI_API_VERSION",),
    "vertex_ai": ("GOOGLE_CLOUD_LOCATION",),
    "aws_bedrock": ("AWS_SESSION_TOKEN",),
}


def check_library(provider: Provider, ref: ModelRef) -> None:
    """Say whether the provider's library is installed, without importing it.

    Raises:
        ModelError: E0203, naming the extra to install.
    """
    missing = next((name for name in provider.library if not _is_importable(name)), None)
    if missing is not None:
        raise ModelError(
            "E0203",
            f"The library for {provider.name} is not installed",
            where=str(ref),
            why=f"The module {missing} cannot be found.",
            fix=f"pip install 'perdure[{provider.extra}]'",
        )


def _is_importable(name: str) -> bool:
    """Whether the module can be found; only a yes is remembered, so that an installation is noticed."""
    if not _IMPORTABLE.get(name):
        try:
            _IMPORTABLE[name] = find_spec(name) is not None
        except ModuleNotFoundError:  # the package around it is missing
            _IMPORTABLE[name] = False
    return _IMPORTABLE[name]


def _is_bound(base_url: str, known: str, environ: Mapping[str, str]) -> bool:
    """Whether the address is one to which the provider's key belongs."""
    listed = {host.strip().lower() for host in environ.get(HOSTS_VARIABLE, "").split(",") if host.strip()}
    asked, own = urlsplit(base_url), urlsplit(known)
    same = bool(known) and (asked.scheme, asked.netloc.lower()) == (own.scheme, own.netloc.lower())
    return same or asked.netloc.lower() in listed or (asked.hostname or "") in listed


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[n] for n in names if environ.get(n)), "")


def _unbound(provider: Provider, ref: ModelRef) -> ModelError:
    host = urlsplit(ref.base_url or "").netloc
    return ModelError(
        "E0202",
        f"The key of {provider.name} is not sent to {host}",
        where=str(ref),
        why="The agent's base_url is not an address that the server's environment names for this provider.",
        fix=f"Set {HOSTS_VARIABLE}={host} (hosts, with commas) in the environment of the server"
        + (f", or {provider.address_variables[0]}={ref.base_url}" if provider.address_variables else "")
        + "; a server that needs no key is reached as openai_compatible/... with that base_url.",
    )


def _missing(provider: Provider, ref: ModelRef, alternatives: list[str], what: str) -> ModelError:
    names = ", or ".join(alternatives)
    return ModelError(
        "E0202",
        f"The {what} of {provider.name} is not set",
        where=str(ref),
        why=f"The server's environment has no {names}.",
        fix=f"Set {names} in the environment of the server and start it again.",
    )
