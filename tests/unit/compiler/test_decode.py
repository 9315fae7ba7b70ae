"""Reading definitions that crossed the wire."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.compiler import decode_definition
from perdure.compiler.texts import MAX_DEPTH
from perdure.core.definition import AgentDefinition, OutputDefinition, RetryPolicy, ToolDefinition
from perdure.core.errors import PerdureError

WHOLE = AgentDefinition(
    name="a",
    model="mock/echo",
    instructions="é😀",
    tools=(ToolDefinition("t", retry=RetryPolicy(backoff="fixed")),),
    output=OutputDefinition("o", {"type": "string"}),
    temperature=1.0,
    metadata={"k": [1, None]},
)


def refused(code, raw) -> PerdureError:
    """The error with which a text or an object is refused."""
    with pytest.raises(PerdureError) as caught:
        decode_definition(raw)
    assert caught.value.code == code
    return caught.value


def test_bytes_texts_and_objects_are_read():
    """What was encoded is read back equal, in each of the three forms."""
    raw = msgspec.json.encode(WHOLE)
    assert decode_definition(raw) == WHOLE
    assert decode_definition(raw.decode()) == WHOLE
    assert decode_definition(msgspec.json.decode(raw)) == WHOLE


def test_a_newer_version_is_said_before_unknown_fields():
    """E0102, although the definition has a field that is unknown too."""
    error = refused("E0102", b'{"v": 3, "name": "a", "novelty": 1}')
    assert "version 3" in error.what
    assert "Update" in error.fix


@pytest.mark.parametrize("version", ['"1"', "0", "-1", "1.5", "true", "null"])
def test_a_version_is_a_positive_integer(version):
    """E0101 for anything else."""
    assert refused("E0101", f'{{"v": {version}}}').where.endswith("$.v")


@pytest.mark.parametrize(
    ("raw", "field", "path", "fix"),
    [
        (b'{"name":"a","model":"m/x","tols":[]}', "tols", "$", "'tools'"),
        (b'{"name":"a","model":"m/x","tools":[{"nam":"x"}]}', "nam", "$.tools[0]", "'name'"),
        (
            b'{"name":"a","model":"m/x","tools":[{"name":"x","retry":{"delay":1}}]}',
            "delay",
            "$.tools[0].retry",
            "'delay_ms'",
        ),
        (b'{"name":"a","model":"m/x","output":{"shcema":{}}}', "shcema", "$.output", "'schema'"),
        (b'{"name":"a","model":"m/x","novelty":[]}', "novelty", "$", "Known fields: name, model"),
    ],
)
def test_unknown_fields(raw, field, path, fix):
    """E0101 with the path, and the field that was probably meant."""
    error = refused("E0101", raw)
    assert repr(field) in error.what
    assert error.where.endswith(f"at {path}")
    assert fix in error.fix


def test_wrong_and_missing_fields():
    """E0101 with the path of a value of the wrong type, or of the object that lacks a field."""
    assert refused("E0101", b'{"name":"a","model":"m/x","max_turns":"x"}').where.endswith("$.max_turns")
    assert "name" in refused("E0101", b'{"model":"m/x"}').what


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"3", "nope", b"[" * 10_000, b'{"name":"\\ud83d\\ude00",}']
)
def test_what_is_no_json_object(raw):
    """E0101 for text that is no JSON, JSON that is no object, and brackets without end."""
    refused("E0101", raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"\\ud800"}',
        b'{"name":"\\udc00 a"}',
        b'{"name":"\xed\xa0\x80"}',
        b'{"name":"\xff"}',
        '{"name":"\ud800"}',
        {"name": "a", "model": "m/x", "metadata": {"a": ["\udc00"]}},
        {"name": "a", "model": "m/x", "metadata": {"\udc00": 1}},
    ],
)
def test_half_characters(raw):
    """E0611 for lone surrogates and broken UTF-8, wherever they are."""
    refused("E0611", raw)


def test_nesting_is_limited():
    """E0101 over 100 levels, however many there are; keys must be texts."""
    deep: object = 1
    for _ in range(MAX_DEPTH - 2):
        deep = [deep]
    assert decode_definition({"name": "a", "model": "m/x", "metadata": {"k": deep}}).name == "a"
    refused("E0101", {"name": "a", "model": "m/x", "metadata": {"k": [[deep]]}})
    refused("E0101", {"name": "a", "model": "m/x", "metadata": {1: 2}})


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_input_is_an_unexpected_error(raw):
    """Whatever bytes arrive, the answer is a definition or a coded error."""
    with pytest.raises(PerdureError):
        decode_definition(raw)


@given(
    st.dictionaries(
        st.sampled_from(["name", "model", "tools", "v", "metadata", "output", "max_turns"]),
        st.recursive(
            st.none() | st.integers() | st.text() | st.floats(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_no_object_is_an_unexpected_error(document):
    """Whatever object arrives, the answer is a definition or a coded error."""
    try:
        assert isinstance(decode_definition(document), AgentDefinition)
    except PerdureError as error:
        assert error.code in {"E0101", "E0102", "E0611"}  # noqa: PT017 - the other outcome is a definition
