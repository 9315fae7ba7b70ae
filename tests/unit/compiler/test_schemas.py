"""JSON Schemas from outside: valid, closed and finite."""

import jsonschema
import pytest

from perdure.compiler.schemas import MAX_SCHEMA_DEPTH, check_object_schema, check_schema
from perdure.core.errors import DefinitionError

TREE = {
    "$defs": {"tree": {"type": "object", "properties": {"below": {"items": {"$ref": "#/$defs/tree"}}}}},
    "$ref": "#/$defs/tree",
}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-z]+$"}}},
        TREE,
        {"$id": "https://example.org/a", "$ref": "#/$defs/x", "$defs": {"x": True}},
        {
            "$defs": {"a b/c~": {"$anchor": "here"}},
            "anyOf": [{"$ref": "#/$defs/a%20b~1c~0"}, {"$ref": "#here"}],
        },
        {"anyOf": [{"type": "string"}, {"items": {"$ref": "#/anyOf/0"}}]},
        {"properties": {"self": {"$ref": "#"}}},
        {"default": {"$ref": "http://example.org/not-a-reference"}},
        {"properties": {"$ref": {"type": "string"}}},
        {"patternProperties": {"^x": {"type": "integer"}}},
    ],
)
def test_good_schemas(schema):
    """References inside of the schema, recursion through parts of the value, and data that looks like a reference."""
    check_schema(schema, "here")
    jsonschema.Draft202012Validator(schema).is_valid({"a": "b", "self": {}})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "not valid"),
        ({"properties": 3}, "not valid"),
        ({"properties": {"a": {"minimum": "x"}}}, "not valid"),
        ({"$ref": 3}, "not valid"),
        ({"$ref": "http://example.org/s.json"}, "never fetched"),
        ({"items": {"$dynamicRef": "file:///etc/passwd"}}, "never fetched"),
        ({"$ref": "other.json"}, "never fetched"),
        ({"$ref": "#/$defs/missing"}, "no schema"),
        ({"$ref": "#missing"}, "no schema"),
        ({"$ref": "#/anyOf/x", "anyOf": [{}]}, "no schema"),
        ({"$ref": "#/anyOf/7", "anyOf": [{}]}, "no schema"),
        ({"$ref": "#/type/x", "type": "object"}, "no schema"),
        ({"$ref": "#/default", "default": {}}, "no schema"),
        ({"items": {"$id": "https://example.org/b"}}, "$id"),
        ({"pattern": "("}, "not valid"),
        ({"pattern": "a{1" + "0" * 30 + "}"}, "not valid"),
        ({"pattern": "(" * 5000 + ")" * 5000}, "not valid"),
        ({"patternProperties": {"(": {}}}, "not valid"),
        ({"$ref": "#"}, "never end"),
        ({"allOf": [{"$ref": "#"}]}, "never end"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}, "never end"),
        ({"dependentSchemas": {"a": {"$ref": "#"}}}, "never end"),
    ],
)
def test_bad_schemas(schema, words):
    """E0101 for schemas that are wrong, lead outside, lead nowhere, or lead in a circle."""
    with pytest.raises(DefinitionError) as caught:
        check_schema(schema, "here")
    assert caught.value.code == "E0101"
    assert words in caught.value.what
    assert caught.value.where.startswith("here")


@pytest.mark.parametrize("levels", [MAX_SCHEMA_DEPTH, 100_000])
def test_nesting_is_limited(levels):
    """E0101 over 64 levels, before any recursive validator sees the schema."""
    schema: dict = {}
    for _ in range(levels):
        schema = {"items": schema}
    with pytest.raises(DefinitionError, match="nested"):
        check_schema(schema, "here")
    while schema:
        schema = schema["items"]


def test_nesting_up_to_the_limit():
    """The deepest schema that is let through can be checked and used."""
    schema: dict = {"type": "string"}
    for _ in range((MAX_SCHEMA_DEPTH - 2) // 2):
        schema = {"type": "object", "properties": {"a": schema}}
    check_object_schema(schema, "here")


@pytest.mark.parametrize("schema", [{"type": "array"}, {}, {"type": ["object", "null"]}, {"properties": {}}])
def test_arguments_are_an_object(schema):
    """E0101 when the arguments of a tool could be anything but an object."""
    with pytest.raises(DefinitionError, match="type object"):
        check_object_schema(schema, "here")
