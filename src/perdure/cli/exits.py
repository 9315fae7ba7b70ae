"""Exit codes: stable, the same for every command, written up in docs/cli.md."""

from perdure.core.errors import PerdureError

OK = 0
FAILED = 1  # the command, or the execution that it waited for
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
UNREACHABLE = 5
INTERRUPTED = 130

# An outcome is not a conflict, though the API answers it with the same HTTP status.
_CODES: dict[str, int] = {
    "E0401": NOT_FOUND,
    "E0407": NOT_FOUND,
    "E0412": NOT_FOUND,
    "E0606": NOT_FOUND,
    "E0402": CONFLICT,
    "E0408": CONFLICT,
    "E0409": CONFLICT,
    "E0413": CONFLICT,
    "E0415": CONFLICT,
    "E0416": CONFLICT,
    "E0433": CONFLICT,
    "E0502": CONFLICT,
    "E0505": CONFLICT,
    "E0701": UNREACHABLE,
    "E0702": UNREACHABLE,
    "E0704": USAGE,
    "E0706": USAGE,
}


def exit_code(error: PerdureError) -> int:
    """The exit code with which a command ends on *error*."""
    return _CODES.get(error.code, FAILED)
