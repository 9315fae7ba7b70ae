"""An execution and all executions below it, each as a view of its own; what they do together.

`Forest.apply` is handed the records of `client.tree.follow`, or of several journals one after the other.
"""

from collections.abc import Mapping

from perdure.cli.nodes import Node
from perdure.cli.view import View
from perdure.wire.types import DeltaRecord, EventRecord

_HALTED = frozenset({"paused", "quarantined"})


class Forest:
    """The views of a tree of executions.

    Attributes:
        root: the view of the execution that is followed.
        views: all views, by execution id.
    """

    def __init__(self, execution_id: str) -> None:
        self.root = View(execution_id)
        self.views: dict[str, View] = {execution_id: self.root}

    @property
    def execution_id(self) -> str:
        """The root's id: it is enough to decide about everything below it."""
        return self.root.execution_id

    def apply(self, record: EventRecord | DeltaRecord) -> bool:
        """Take one record; the answer is whether anything changed."""
        return self.of(record).apply(record)

    def of(self, record: EventRecord | DeltaRecord) -> View:
        """The view that a record belongs to."""
        view = self.views.get(record.execution_id)
        if view is None:
            view = self.views[record.execution_id] = View(record.execution_id)
        return view

    @property
    def approvals(self) -> list[Node]:
        """The steps that wait for a person, the root's first."""
        if self.root.ending is not None:
            return []
        return [node for view in self.views.values() for node in view.approvals]


def doing(view: View, views: Mapping[str, View]) -> str:
    """The status of an execution, where that of one that waits for its children is theirs, if they are known."""
    if view.status != "waiting:child" or not any(node.child_id in views for node in view.children):
        return view.status
    below = [
        "running" if (child := views.get(node.child_id)) is None else doing(child, views)
        for node in view.children
        if not node.settled
    ]
    if not all(s in _HALTED or s.startswith("waiting:") for s in below):
        return "running"
    return "waiting:approval" if "waiting:approval" in below else below[0]
