"""Docstrings of the three styles: body and parameters."""

import pytest

from perdure.agents.docstrings import Docstring, parse_docstring

GOOGLE = """Look up an order.

    It must exist.

    Example:
        lookup("A1")

    Args:
        order_id (str, optional): The id
            as printed: on the receipt.

        `depth`: How far.
        **rest: Ignored.
        no colon here
        empty:

    Returns:
        id: the order

    Raises:
        KeyError: no such order
    Trailing words.
    """
NUMPY = """Look up an order.

    Parameters
    ----------
    order_id : str
        The id
        as printed.
    a, b : int, optional
        Both.
    (odd)
        Skipped.

    Returns
    -------
    str
        The order.
    """
SPHINX = """Look up an order.

    :param str order_id: The id
        as printed.
    :param a: First.
    :type a: int
    :arg b: Second.
    :param : nothing
    :returns: The order.
    :raises KeyError: no such order
    """


@pytest.mark.parametrize("text", [None, ""])
def test_no_docstring_is_empty(text):
    """Without a docstring there is neither body nor parameters."""
    assert parse_docstring(text) == Docstring()


def test_google_style():
    """Google sections: types are left out, continuation lines joined, other sections end the body."""
    parsed = parse_docstring(GOOGLE)
    assert parsed.body == 'Look up an order.\n\nIt must exist.\n\nExample:\n    lookup("A1")'
    assert parsed.parameters == {
        "order_id": "The id as printed: on the receipt.",
        "depth": "How far.",
        "rest": "Ignored. no colon here",
        "empty": "",
    } | {"rest": parsed.parameters["rest"]}


def test_numpy_style():
    """NumPy sections: one description may be of several names; an underline ends the section before."""
    parsed = parse_docstring(NUMPY)
    assert parsed.body == "Look up an order."
    assert parsed.parameters == {"order_id": "The id as printed.", "a": "Both.", "b": "Both."}


def test_sphinx_style():
    """Sphinx fields: the last word before the colon is the name; fields about other things are left out."""
    parsed = parse_docstring(SPHINX)
    assert parsed.body == "Look up an order."
    assert parsed.parameters == {"order_id": "The id as printed.", "a": "First.", "b": "Second."}


def test_a_heading_that_is_no_section_stays_in_the_body():
    """Underlined words and words with a colon that name no known section are prose."""
    text = "Do it.\n\nNotes\n-----\nSlow.\n\nWarning:\n    Hot."
    assert parse_docstring(text) == Docstring(text)


def test_an_empty_section_has_no_parameters():
    """A section header with nothing below it is harmless."""
    assert parse_docstring("Do it.\n\nArgs:") == Docstring("Do it.")
    assert parse_docstring("Do it.\n\nParameters\n----------") == Docstring("Do it.")
    assert parse_docstring("Do it.\n\nArgs:\n    just words\n") == Docstring("Do it.")
