"""Code fences around an answer. A module of its own: the client reads them too, and pays for no validator."""

FENCE = "```"


def behind_fence(body: str) -> str:
    """What follows the line that opens a code fence; empty while that line has no end."""
    # By hand: a pattern for a fence with free white space backtracks without bound on a hostile text.
    _language, _newline, fenced = body.partition("\n")
    return fenced
