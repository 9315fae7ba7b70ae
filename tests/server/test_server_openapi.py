"""The OpenAPI document is the server: every route in it answers as it says."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from perdure.core.errors import CODES
from perdure.server.openapi import encode_document
from perdure.server.table import ROUTES
from tests.server.harness import API, definition, in_loop, with_tool, world

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = json.loads(encode_document())


def test_the_checked_in_document_is_current():
    """docs/openapi.json is what `python -m perdure.server.openapi` writes."""
    assert (ROOT / "docs" / "openapi.json").read_bytes() == encode_document()


def test_the_document_is_openapi_3_1():
    """The document has the parts that the specification asks for, and every reference leads somewhere."""
    assert DOCUMENT["openapi"] == "3.1.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    ids = []
    for path, item in DOCUMENT["paths"].items():
        assert path.startswith("/")
        for method, operation in item.items():
            assert method in {"get", "post"}
            ids.append(operation["operationId"])
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")
            assert all(r["description"] for r in operation["responses"].values())
            assert "200" in operation["responses"]
    assert len(ids) == len(set(ids)) == len(ROUTES)
    for reference in _references(DOCUMENT):
        assert _at(reference), reference


def test_every_schema_is_json_schema():
    """Each component, and the schema of each parameter, is valid JSON Schema 2020-12."""
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for item in DOCUMENT["paths"].values():
        for operation in item.values():
            for parameter in operation["parameters"]:
                Draft202012Validator.check_schema(parameter["schema"])


def test_every_code_that_a_route_names_exists():
    """The errors of the table are codes of the error tree."""
    assert {code for spec in ROUTES for code in spec.codes} <= set(CODES)


def test_the_guide_names_every_route():
    """docs/api.md has every method and path of the table."""
    text = (ROOT / "docs" / "api.md").read_text()
    missing = [f"{r.method} {r.path}" for r in ROUTES if f"{r.method} {r.path}" not in text]
    assert not missing


@in_loop
async def test_the_server_hands_out_the_document():
    """GET /openapi.json is the document."""
    async with world() as w:
        reply = await w.door.get("/openapi.json")
        assert reply.header("content-type") == "application/json"
        assert reply.json == DOCUMENT


@in_loop
async def test_every_route_answers_as_the_document_says():
    """One good request to every route gets 200 and a body that fits the route's schema."""
    async with world() as w:
        asked = await w.start(definition=with_tool(approval_required=True) | {"name": "asker"})
        for _ in range(500):
            approvals = (await w.door.get(f"{API}/approvals")).json["approvals"]
            if approvals:
                break
        deployed = await w.door.post(f"{API}/agents", {"definition": definition()})
        assert deployed.status == 200
        done = await w.start()
        await w.ended(done)
        lost = await w.start(definition=with_tool() | {"name": "loser"})
        await w.door.post(f"{API}/executions/{lost}/cancel", {})
        bodies: dict[str, Any] = {
            "plan_agent": {"definition": definition()},
            "deploy_agent": {"definition": definition()},
            "start_execution": {"prompt": "hi", "agent": "helper"},
            "worker_poll": {"worker": "w", "tools": ["asker.look"]},
            "worker_heartbeat": {"worker": "w", "leases": []},
            "decide_approval": {"decision": "approved"},
            "say_to_execution": {"text": "hurry"},
        }
        order = {"cancel_execution": 1}  # last: it ends the execution that the others look at
        for spec in sorted(ROUTES, key=lambda r: order.get(r.name, 0)):
            ids = {"execution_id": done if spec.streams else asked, "name": "helper"}
            if spec.name == "retry_execution":
                ids["execution_id"] = lost
            path = spec.path.format(approval_id=approvals[0]["approval_id"], **ids)
            if spec.name == "wait_execution":
                path += "?timeout_ms=1"
            elif spec.name == "diff_executions":
                path += f"?other={done}"
            reply = await w.door.send(spec.method, path, bodies.get(spec.name))
            assert reply.status == 200, (spec.name, reply.body)
            content = DOCUMENT["paths"][spec.path][spec.method.lower()]["responses"]["200"]["content"]
            ((content_type, described),) = content.items()
            assert reply.header("content-type").startswith(content_type)
            if content_type == "application/json":
                _check(described["schema"], reply.json)


@in_loop
async def test_errors_and_events_fit_their_schemas():
    """Error answers, and the records of the stream, are what the components say."""
    async with world() as w:
        _check({"$ref": "#/components/schemas/ErrorAnswer"}, (await w.door.get("/nothing")).json)
        done = await w.start()
        async with w.door.stream(f"{API}/executions/{done}/stream") as reader:
            events = await reader.rest()
        kinds = set()
        for event in events[:-1]:
            name = "DeltaRecord" if event["event"] == "delta" else "EventRecord"
            kinds.add(name)
            _check({"$ref": f"#/components/schemas/{name}"}, json.loads(event["data"]))
        assert "EventRecord" in kinds


def _check(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(value)


def _references(value: Any):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _at(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {})
    return found


@pytest.mark.parametrize("spec", ROUTES, ids=lambda r: r.name)
def test_each_route_lists_its_errors(spec):
    """The document names for each route the door's errors and its own."""
    responses = DOCUMENT["paths"][spec.path][spec.method.lower()]["responses"]
    listed = " ".join(r["description"] for s, r in responses.items() if s != "200")
    assert all(code in listed for code in spec.all_codes())
    assert ("E0601" in listed) is not spec.open
