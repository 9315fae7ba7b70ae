"""The errors that all stores share, so that they read alike."""

from perdure.core.errors import SemanticMemoryError
from perdure.memory.ports import VectorSpace


def missing_library(what: str, extra: str, error: ImportError) -> SemanticMemoryError:
    """The library of an adapter is not installed."""
    return SemanticMemoryError(
        "E0801", f"{what} is not installed", why=str(error), fix=f'pip install "perdure[{extra}]"'
    )


def closed(where: str) -> SemanticMemoryError:
    """The store was closed."""
    return SemanticMemoryError(
        "E0807", "The memory is closed", where=where, fix="Make a new store; a closed one stays closed."
    )


def other_space(where: str, stored: VectorSpace, asked: VectorSpace) -> SemanticMemoryError:
    """Vectors of one embedder meet a store that holds another's."""
    return SemanticMemoryError(
        "E0803",
        "The memory holds vectors of another embedder",
        where=where,
        why=f"It was written with {stored.embedder} ({stored.dimension} numbers), "
        f"and this is {asked.embedder} ({asked.dimension}). Their vectors cannot be compared.",
        fix="Use the embedder that the memory was written with, or a new memory.",
    )


def unavailable(where: str, error: Exception) -> SemanticMemoryError:
    """The store cannot be reached or written now; the same call may succeed later."""
    return SemanticMemoryError(
        "E0805",
        "The memory store cannot be reached or written at the moment",
        where=where,
        why=f"{type(error).__name__}: {error}",
        fix="Look at the store; then try again: adding the same thing twice stores it once.",
    )


def unreadable(where: str, why: str) -> SemanticMemoryError:
    """What is stored is damaged or of a newer version."""
    return SemanticMemoryError(
        "E0806",
        "The memory's data cannot be read",
        where=where,
        why=why,
        fix="Use the version of Perdure that wrote it, or restore it from a backup.",
    )
