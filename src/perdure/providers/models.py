"""All providers behind one port (`engine.ports.Models`): the only module that the composition root needs.

Importing it imports no vendor's library and not the model library: a wire is imported, in a thread, when the first
call over it is made, because such an import takes one to three seconds. The connection that comes out of it is kept
until `aclose`; a key that changed in the environment makes a new one.
"""

import asyncio
import importlib
from collections.abc import Callable, Mapping
from typing import Protocol

from perdure.clock import Clock
from perdure.core.errors import ModelError
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest
from perdure.providers.catalogue import Access, Provider, check_library, find_provider, resolve_access
from perdure.providers.mock import check_mock, complete_mock

OnDelta = Callable[[Delta], None]


class Wire(Protocol):
    """A connection to one provider at one address, made by `connect` of a module of `perdure.providers.wires`."""

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        """One call; see `engine.ports.Models.complete`."""

    async def aclose(self) -> None:
        """Close the connection."""


class ProviderModels:
    """The models of all providers.

    Args:
        environ: where keys, addresses and regions are read, e.g. `os.environ`; read at every check.
        clock: for `Retry-After` dates.
        base_urls: addresses by provider, before those of the environment: for proxies and tests.
    """

    def __init__(
        self, environ: Mapping[str, str], clock: Clock, *, base_urls: Mapping[str, str] | None = None
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._base_urls = {find_provider(name).name: url for name, url in (base_urls or {}).items()}
        self._wires: dict[Access, Wire] = {}
        self._connecting = asyncio.Lock()

    def check(self, ref: ModelRef) -> None:
        """Say, without any network or import, whether a call could be made.

        Raises:
            ModelError: E0201 unknown provider; E0202 its key is not set; E0203 its library is not installed; E0211
                no such mock model.
        """
        provider = find_provider(ref.provider)
        if provider.wire == "mock":
            check_mock(ref.name)
        else:
            self._access(provider, ref)

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        """Call the model, streaming inside; *on_delta* is called with each piece as it arrives.

        Raises:
            ModelError: E0201 to E0211, with `retryable` and `retry_after_ms` set from the provider's answer.
            asyncio.CancelledError: the call was aborted.
        """
        provider = find_provider(request.model.provider)
        if provider.wire == "mock":
            return await complete_mock(request, on_delta)
        access = self._access(provider, request.model)
        wire = self._wires.get(access) or await self._connect(access, request.model)
        return await wire.complete(request, on_delta)

    async def aclose(self) -> None:
        """Close connections."""
        async with self._connecting:
            wires, self._wires = self._wires, {}
            for wire in wires.values():
                await wire.aclose()

    def _access(self, provider: Provider, ref: ModelRef) -> Access:
        access = resolve_access(provider, ref, self._environ, self._base_urls)
        check_library(provider, ref)
        return access

    async def _connect(self, access: Access, ref: ModelRef) -> Wire:
        async with self._connecting:
            if access not in self._wires:
                self._wires[access] = await asyncio.to_thread(_connect, access, ref, self._clock.now_ms)
            return self._wires[access]


def _connect(access: Access, ref: ModelRef, now_ms: Callable[[], int]) -> Wire:
    """Import the wire and connect it: blocking, for seconds the first time."""
    try:
        module = importlib.import_module(f"perdure.providers.wires.{access.provider.wire}")
        wire: Wire = module.connect(access, now_ms)
    except Exception as exc:  # a broken library or credential file may raise anything
        raise ModelError(
            "E0204",
            f"The library for {access.provider.name} cannot be used",
            where=str(ref),
            why=f"{type(exc).__name__}: {exc}",
            fix="Check the variables of this provider in docs/models.md"
            + (
                f", and its library: pip install -U 'perdure[{access.provider.extra}]'"
                if access.provider.extra
                else ""
            )
            + ".",
        ) from exc
    return wire
