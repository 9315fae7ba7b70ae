"""Tidying JSON Schemas."""

from perdure.agents.schema_shape import subschemas, tidy


def test_titles_go_and_properties_called_title_stay():
    """Only the keyword is noise: a property, a default or an enum value of that name is kept."""
    schema = {
        "title": "T",
        "type": "object",
        "properties": {"title": {"title": "Title", "type": "string", "default": {"title": "x"}}},
        "discriminator": {"propertyName": "kind"},
        "items": False,
    }
    assert tidy(schema) == {
        "type": "object",
        "properties": {"title": {"type": "string", "default": {"title": "x"}}},
        "items": False,
    }


def test_definitions_are_put_in_place():
    """A definition that is not recursive disappears; what stands beside the reference wins."""
    schema = {
        "$defs": {"A": {"type": "string", "description": "a"}, "B": {"items": {"$ref": "#/$defs/A"}}},
        "anyOf": [{"$ref": "#/$defs/B"}, {"$ref": "#/$defs/A", "description": "mine"}],
    }
    assert tidy(schema) == {
        "anyOf": [
            {"items": {"type": "string", "description": "a"}},
            {"type": "string", "description": "mine"},
        ]
    }


def test_recursive_definitions_stay():
    """A definition that leads back to itself is kept once, with others put in their place inside of it."""
    node = {"properties": {"next": {"$ref": "#/$defs/Node"}, "leaf": {"$ref": "#/$defs/Leaf"}}}
    schema = {"$defs": {"Node": node, "Leaf": {"type": "null"}}, "$ref": "#/$defs/Node"}
    assert tidy(schema) == {
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}, "leaf": {"type": "null"}}}},
    }


def test_a_reference_elsewhere_is_left_alone():
    """References that are not to definitions are not touched."""
    schema = {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"$ref": "#/$defs/Missing"}}}
    assert tidy(schema) == schema


def test_sharing_that_would_explode_keeps_its_definitions():
    """Definitions that are shared too often stay definitions."""
    definitions = {
        f"D{n}": {"properties": {"a": {"$ref": f"#/$defs/D{n + 1}"}, "b": {"$ref": f"#/$defs/D{n + 1}"}}}
        for n in range(20)
    }
    schema = {"$defs": {**definitions, "D20": {"type": "string"}}, "$ref": "#/$defs/D0"}
    assert tidy(schema) == schema


def test_tidying_changes_nothing_of_its_argument():
    """The given schema stays as it was."""
    schema = {"anyOf": [{"title": "A"}], "properties": {"a": {"title": "A"}}}
    tidy(schema)
    assert schema == {"anyOf": [{"title": "A"}], "properties": {"a": {"title": "A"}}}


def test_subschemas_of_odd_schemas():
    """Keywords with values of the wrong type hold no schemas."""
    assert list(subschemas({"properties": [], "anyOf": {}, "not": {"a": 1}})) == [(("not",), {"a": 1})]
