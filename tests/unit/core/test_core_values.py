"""The small parts of the core: ids, events, states, back-off, checks of JSON, errors."""

import time
from typing import Any, get_args

import msgspec
import pytest

from perdure.core import errors, ids
from perdure.core import events as ev
from perdure.core.definition import RetryPolicy
from perdure.core.errors import CODES, FAMILIES, ApiError, ExecutionError, ModelError, PerdureError, from_wire
from perdure.core.machines.backoff import retry_at
from perdure.core.machines.turn_state import (
    STATE_VERSION,
    Step,
    TurnState,
    decode_state,
    encode_state,
    evolve,
)
from perdure.core.messages import (
    MediaPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from perdure.core.model import ModelRef, Usage
from perdure.core.validation import parse_answer, problems
from tests.unit.core.scenarios import all_plays

# Back-off -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        ("fixed", [1_000, 1_000, 1_000, 1_000, 1_000]),
        ("linear", [1_000, 2_000, 3_000, 4_000, 5_000]),
        ("exponential", [1_000, 2_000, 4_000, 8_000, 9_000]),
    ],
)
def test_the_wait_grows_as_the_policy_says_up_to_its_limit(backoff: Any, waits: list[int]):
    """Fixed stays, linear adds, exponential doubles; none passes max_delay_ms."""
    policy = RetryPolicy(delay_ms=1_000, backoff=backoff, max_delay_ms=9_000, jitter=0)
    assert [retry_at(policy, n, 50, 0.9) - 50 for n in range(1, 6)] == waits


@pytest.mark.parametrize("failures", [1, 2, 31, 5_000])
def test_jitter_moves_the_wait_in_both_directions_and_no_further(failures: int):
    """The wait stays within its share, also after thousands of failures."""
    policy = RetryPolicy(delay_ms=1_000, max_delay_ms=60_000, jitter=0.2)
    middle = min(1_000 * 2 ** min(failures - 1, 30), 60_000)
    assert retry_at(policy, failures, 0, 0.0) == int(middle * 0.8)
    assert retry_at(policy, failures, 0, 0.5) == middle
    assert middle < retry_at(policy, failures, 0, 0.999) <= middle * 1.2


def test_retry_after_is_the_least_wait():
    """A provider's wish is kept, lengthened by the jitter alone, and does not shorten the policy's wait."""
    policy = RetryPolicy(delay_ms=1_000, max_delay_ms=2_000, jitter=0.2)
    assert retry_at(policy, 1, 0, 0.0, 30_000) == 30_000
    assert retry_at(policy, 1, 0, 0.5, 30_000) == 30_100
    assert retry_at(policy, 1, 0, 0.5, 10) == 1_000
    assert retry_at(policy, 1, 0, 0.5, 0) == 1_000


def test_a_policy_without_a_wait_is_due_at_once():
    """A delay of zero is never before now."""
    assert retry_at(RetryPolicy(delay_ms=0, jitter=1), 3, 77, 0.0) == 77


# Ids ----------------------------------------------------------------------------------------------------


def test_execution_ids_sort_by_time_and_keep_their_form():
    """27 characters, the time first, so that the newest are the greatest."""
    first = ids.execution_id(1_700_000_000_000, b"\xff" * 10)
    later = ids.execution_id(1_700_000_000_001, b"\x00" * 10)
    assert first < later
    assert len(first) == 27
    assert first.startswith("x")
    assert ids.execution_id(0, bytes(10)) == "x" + "0" * 26
    assert ids.execution_id(0, b"\x01" + bytes(9)) != ids.execution_id(0, bytes(9) + b"\x01")


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    """Equal values have equal hashes; different ones have not."""
    assert ids.canonical_json({"b": 1, "a": [1, 2]}) == b'{"a":[1,2],"b":1}'
    assert ids.content_hash({"a": 1, "b": 2}) == ids.content_hash({"b": 2, "a": 1})
    assert len({ids.content_hash(v) for v in (1, 1.0, True, "1", None)}) == 5


def test_names_of_steps_do_not_run_into_each_other():
    """Keys and approvals of different executions and steps differ, however the names are cut."""
    pairs = [("a", "bc"), ("ab", "c"), ("abc", ""), ("x", "t1.c0"), ("x", "t1.c0.u1")]
    assert len({ids.idempotency_key(*p) for p in pairs}) == len(pairs)
    assert len({ids.approval_id(*p) for p in pairs}) == len(pairs)


@pytest.mark.parametrize("field", range(5))
def test_every_part_of_a_call_is_in_its_effect_hash(field: int):
    """I7: execution, step, tool, schema and arguments: a change of any of them is another call."""
    parts: list[Any] = ["x", "t1.c0", "refund", {"type": "object"}, {"amount": 1}]
    changed = list(parts)
    changed[field] = "other" if field < 3 else {"other": 1}
    assert ids.effect_hash(*parts) != ids.effect_hash(*changed)


# Events and states --------------------------------------------------------------------------------------


def test_every_event_of_every_scenario_survives_json():
    """An event read back is equal to the one that was written, and is written the same."""
    for play in all_plays():
        for record in play.records:
            raw = ev.encode(record.event)
            assert ev.decode(raw) == record.event
            assert ev.encode(ev.decode(raw)) == raw
            assert msgspec.json.decode(raw)["kind"] == ev.kind_of(record.event)


def test_kinds_are_unique_and_bodies_are_fields():
    """Every kind has its own name, and the large field that it names exists."""
    kinds = get_args(ev.AnyEvent)
    assert len({k.__struct_config__.tag for k in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.BODY is None or kind.BODY in kind.__struct_fields__


def test_an_unknown_kind_of_event_is_refused():
    """An event of a newer release is not taken for something else."""
    with pytest.raises(msgspec.ValidationError):
        ev.decode(b'{"kind":"execution_teleported"}')


def test_a_message_of_every_part_survives_json():
    """Texts, reasoning, media, calls and results come back whole, with what only a provider understands."""
    message = Message(
        "assistant",
        (
            TextPart("a", {"id": 1}),
            ReasoningPart("b", "signature", {"id": 2}),
            MediaPart("image/png", data="AAAA"),
            ToolCallPart("c", "weather", {"city": "a"}, details={"id": 3}),
            ToolCallPart("d", "weather", None, "{"),
            ToolResultPart("c", "weather", [1], is_error=True),
            TextPart("z"),
        ),
    )
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message
    assert message.text == "az"
    assert [c.call_id for c in message.tool_calls] == ["c", "d"]


def test_a_state_has_the_version_of_its_journal():
    """The version is the one that the journal was begun under, and not that of the release that reads it."""
    state = TurnState()
    evolve(state, ev.ExecutionStarted("a", "p", user("Hi"), "me", v=1))
    assert state.v == 1
    assert decode_state(b'{"phase":"active"}').v == 1
    assert ev.decode(b'{"kind":"execution_started","agent":"a","plan_hash":"p","input":{"role":"user","parts":[]},'
                     b'"started_by":"me"}').v == 1  # fmt: skip


def test_a_journal_or_state_of_a_newer_release_is_refused_by_name():
    """E0414 says to run the newer release, also when the rest of it cannot be read here."""
    newer = STATE_VERSION + 1
    with pytest.raises(ExecutionError, match="The journal has version"):
        evolve(TurnState(), ev.ExecutionStarted("a", "p", user("Hi"), "me", v=newer))
    raw = msgspec.json.encode({"v": newer, "phase": "teleported"})
    with pytest.raises(ExecutionError, match="The state has version"):
        decode_state(raw)


def test_a_state_survives_json():
    """A state with everything in it is read back equal, and written the same."""
    step = Step("leased", 3, 1, 9, "weather", "c", "w", "a1", "h", 2)
    state = TurnState(
        1, "paused", 4, {"t4.c0": step}, {"weather": 2}, 1, 5, True, {"k": [1]}, Usage(1, 2, 3, 4, 5)
    )
    raw = encode_state(state)
    assert decode_state(raw) == state
    assert encode_state(decode_state(raw)) == raw
    assert not state.over


def test_usage_adds_up():
    """Every kind of token is summed."""
    total = Usage(1, 2, 3, 4, 5, 6, 7).plus(Usage(10, 20, 30, 40, 50, 60, 70))
    assert total == Usage(11, 22, 33, 44, 55, 66, 77)
    assert total.total_tokens == 33
    assert str(ModelRef("openai", "gpt/x")) == "openai/gpt/x"


# Checks of JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        (' {"a": [1]} ', {"a": [1]}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}```', {"a": 1}),
        ('"``` in a text ```"', "``` in a text ```"),
        ("null", None),
    ],
)
def test_an_answer_is_read_with_or_without_a_fence(text: str, value: object):
    """A code fence around the JSON is taken off."""
    assert parse_answer(text) == (value, None)


@pytest.mark.parametrize(
    "text", ["", " ", "```\n```", "hello", "{", "NaN", "```json\n```\n{}", '"\ud800"', "[" * 200_000]
)
def test_an_answer_that_cannot_be_read_is_said_to_be_so(text: str):
    """Whatever the text, there is a sentence about it and no exception."""
    value, wrong = parse_answer(text)
    assert value is None
    assert wrong
    wrong.encode()


@pytest.mark.parametrize("filling", ["\n", " ", "`", "```\n", "```json\n \n"])
def test_reading_an_answer_takes_time_in_proportion_to_its_length(filling: str):
    """A megabyte of white space or of fences from a runaway model is read in well under a second."""
    began = time.process_time()
    parse_answer("```json\n" + filling * (1_000_000 // len(filling)) + "x")
    assert time.process_time() - began < 1


def test_problems_say_where_and_what():
    """The path of each problem stands before it; what fits has none."""
    schema = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {"properties": {"n": {"type": "integer"}}}}},
        "required": ["id"],
    }
    assert problems(schema, {"id": 1, "rows": []}) == ()
    assert set(problems(schema, {"rows": [{"n": 1}, {"n": "x"}]})) == {
        "'id' is a required property",
        "rows[1].n: 'x' is not of type 'integer'",
    }
    assert problems({}, object()) == ()


def test_problems_are_bounded():
    """At most ten, of at most 500 characters."""
    found = problems({"items": {"type": "integer"}}, ["x" * 5_000] * 100)
    assert len(found) == 10
    assert all(len(text) <= 500 for text in found)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "http://127.0.0.1:9/never-fetched"}, {}),
        ({"$ref": "#/$defs/none"}, {}),
        ({"$ref": "#"}, {}),
        ({"type": "text"}, {}),
        ({"type": 5}, {}),
        ({"minimum": "low"}, 1),
        ({"pattern": "("}, "x"),
        ({"multipleOf": 0.01}, 10**400),
    ],
)
def test_what_cannot_be_checked_does_not_fit(schema: dict[str, Any], value: object):
    """E8: no schema is fetched, and a checker that fails is a problem and not a yes."""
    (text,) = problems(schema, value)
    assert text.startswith("it cannot be checked")


def test_schemas_beyond_the_kept_ones_are_checked_as_well():
    """The store of compiled schemas is bounded and never mixes two of them up."""
    for _ in range(3):
        for index in range(300):
            schema = {"const": index}
            assert problems(schema, index) == ()
            assert problems(schema, index + 1) != ()


# Errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
def test_every_code_survives_the_wire(code: str):
    """The server's error is the client's error: family, five texts, status and fields."""
    family = next(f for f in FAMILIES if code.startswith(f.family))
    error = family(code, "what", where="where", why="why", fix="fix", extra=[1])
    back = from_wire(msgspec.json.decode(msgspec.json.encode(error.to_wire())))
    assert type(back) is family
    assert str(back) == str(error) == f"[{code}] what\n  where: where\n  why: why\n  fix: fix"
    assert back.fields == {"extra": [1]}
    assert (back.slug, back.http_status) == (CODES[code][0], CODES[code][1])


def test_slugs_are_unique():
    """A slug names one code."""
    assert len({slug for slug, _, _ in CODES.values()}) == len(CODES)


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        ({"code": "E9999", "what": "New"}, "[E0609] New (E9999)"),
        ({"what": "Plain"}, "[E0609] Plain"),
        ({}, "[E0609] The server answered with an error"),
        ({"code": "E0609", "what": "x", "fields": "not a table"}, "[E0609] x"),
    ],
)
def test_an_error_of_a_newer_or_broken_server_keeps_its_text(wire: dict[str, Any], text: str):
    """What cannot be placed becomes E0609."""
    error = from_wire(wire)
    assert isinstance(error, ApiError)
    assert str(error) == text


def test_a_model_error_says_whether_to_try_again():
    """`retryable` and `retry_after_ms` are attributes and no fields of the wire."""
    error = ModelError("E0206", "Slow down", retryable=True, retry_after_ms=5)
    assert (error.retryable, error.retry_after_ms) == (True, 5)
    assert error.to_wire() == {"code": "E0206", "slug": "model_rate_limited", "what": "Slow down"}
    assert isinstance(error, PerdureError)
    assert errors.DefinitionError.__mro__[2] is ValueError
