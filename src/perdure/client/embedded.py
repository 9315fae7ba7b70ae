"""The lazy door to the server in this process: `perdure.app` is imported when an embedded runtime is first used."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from perdure.client.inprocess import AsgiApp


class EmbeddedApp(Protocol):
    """What the client needs of the application."""

    @property
    def asgi(self) -> AsgiApp:
        """Its HTTP door."""

    @property
    def api_key(self) -> str:
        """The key that opens it."""

    async def close(self) -> None:
        """Stop, leaving everything durable."""


async def open_embedded(
    data_dir: Path, environ: Mapping[str, str], options: Mapping[str, Any]
) -> EmbeddedApp:
    """Open the application in the running event loop; *options* are further fields of `perdure.app.AppConfig`.

    Raises:
        JournalError: E0502 another process has this data directory.
    """
    door = importlib.import_module("perdure.app")
    app: EmbeddedApp = await door.open_app(door.AppConfig(data_dir=data_dir, **options), environ=environ)
    return app
