"""Qdrant's HTTP protocol in front of the client library's own local mode, since no server can be installed by pip.

What this proves of the remote adapter: that it connects, sends requests that the protocol has, with its key, and
understands the answers, errors included. What it does not prove: the server's own search and indexes. With a real
server at hand, name it by PERDURE_TEST_QDRANT, and the same tests run against it.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from tests.free_port import free_port

ENVIRONMENT = "PERDURE_TEST_QDRANT"  # the URL of a real server


def _plain(value: Any) -> Any:
    """Models of the client library as JSON values."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class _Server:
    """One local client behind the routes that the adapter uses."""

    def __init__(self, client: Any, models: Any) -> None:
        self.client, self.models = client, models
        self.keys_seen: set[str] = set()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        for method, path, verb in (
            ("GET", "/collections/{name}/exists", self.exists),
            ("GET", "/collections/{name}", self.about),
            ("PUT", "/collections/{name}", self.create),
            ("PUT", "/collections/{name}/index", self.index),
            ("PUT", "/collections/{name}/points", self.upsert),
            ("POST", "/collections/{name}/points", self.retrieve),
            ("POST", "/collections/{name}/points/delete", self.delete),
            ("POST", "/collections/{name}/points/query", self.query),
            ("POST", "/collections/{name}/points/scroll", self.scroll),
            ("POST", "/collections/{name}/points/count", self.count),
        ):
            app.router.add_route(method, path, self._answered(verb))
        return app

    def _answered(self, verb: Callable[[str, Any], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            self.keys_seen.add(request.headers.get("api-key", ""))
            body = await request.json() if request.can_read_body else {}
            try:
                result = verb(request.match_info["name"], body)
            except ValueError as error:
                return web.json_response({"status": {"error": str(error)}, "time": 0}, status=404)
            return web.json_response({"result": _plain(result), "status": "ok", "time": 0.001})

        return answer

    def exists(self, name: str, _: Any) -> Any:
        return {"exists": self.client.collection_exists(name)}

    def about(self, name: str, _: Any) -> Any:
        return self.client.get_collection(name)

    def create(self, name: str, body: Any) -> Any:
        vectors = self.models.VectorParams(**body["vectors"])
        return self.client.create_collection(name, vectors_config=vectors, metadata=body.get("metadata"))

    def index(self, name: str, body: Any) -> Any:
        assert body["field_name"] in {"namespace", "tokens", "created_at_ms", "expires_at_ms"}
        return {"operation_id": 0, "status": "completed"}

    def upsert(self, name: str, body: Any) -> Any:
        points = [self.models.PointStruct(**point) for point in body["points"]]
        mode = self.models.UpdateMode(body["update_mode"])
        return self.client.upsert(name, points, update_mode=mode)

    def retrieve(self, name: str, body: Any) -> Any:
        return self.client.retrieve(name, body["ids"], with_payload=True)

    def delete(self, name: str, body: Any) -> Any:
        return self.client.delete(name, self.models.FilterSelector(**body))

    def query(self, name: str, body: Any) -> Any:
        condition = self.models.Filter(**body["filter"])
        return self.client.query_points(
            name,
            query=self.models.NearestQuery(**body["query"]),
            query_filter=condition,
            limit=body["limit"],
            with_payload=True,
        )

    def scroll(self, name: str, body: Any) -> Any:
        condition = self.models.Filter(**body["filter"])
        points, offset = self.client.scroll(
            name, condition, limit=body["limit"], offset=body.get("offset"), with_payload=True
        )
        return {"points": _plain(points), "next_page_offset": offset}

    def count(self, name: str, body: Any) -> Any:
        return self.client.count(name, self.models.Filter(**body["filter"]), exact=True)


@contextmanager
def running_qdrant() -> Iterator[str]:
    """The URL of a server: a real one if it is named, else the one described above."""
    if named := os.environ.get(ENVIRONMENT):
        yield named
        return
    from qdrant_client import QdrantClient, models

    port, loop, started = free_port(), asyncio.new_event_loop(), threading.Event()
    server = _Server(QdrantClient(":memory:", force_disable_check_same_thread=True), models)
    runner = web.AppRunner(server.application(), access_log=None)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        started.set()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        server.client.close()
