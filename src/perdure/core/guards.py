"""What a guardrail says of a text. One shape for all kinds: a function's, a pattern's, a model's."""

from typing import Any

import msgspec


class GuardVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of one check.

    Attributes:
        passed: whether what was checked may go on. A check that could not be made has not passed (E8).
        message: what the model or the caller is told when it has not.
        fixed: what takes the place of what was checked, where the guardrail fixes; None: it has nothing to offer.
    """

    passed: bool
    message: str = ""
    fixed: Any = None
