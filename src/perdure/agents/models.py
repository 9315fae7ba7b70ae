"""Models as an agent names them: a `provider/model` text, or an object that stands for one."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ModelLike(Protocol):
    """Anything with a model's name and settings for its provider; `perdure.testing.MockModel` is one.

    Attributes:
        model: `provider/model`.
        settings: JSON values that only this provider understands.
    """

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def settings(self) -> dict[str, Any]:
        """What goes to the provider with each call."""
