"""The turn machine's state and its transition tables: which event may come in which phase, and at which step.

Rule 2: every legal pair is in PHASES or STEPS. A pair that is absent is a fault of the engine; `turn_state` raises E0414.

Rule 3: the state is small. It holds open steps, counters and the tools' shared state, never the transcript.
"""

from typing import Any, Literal

import msgspec

from perdure.core import events as ev
from perdure.core.machines.teams.tables import Team
from perdure.core.model import Usage

# A state has the version of the journal that it is folded from, so that I9 holds under every later release.
STATE_VERSION = ev.EVENT_VERSION

Phase = Literal["new", "active", "paused", "quarantined", "completed", "failed", "cancelled"]
# A model step is asking, or waits to be asked again; a tool step waits for a person, for a worker
# (not before `due_ms`), or is leased, and so is the step of a function; a child step has a child execution.
# What waits for a message, or for another execution of its session, has a status of its own.
StepStatus = Literal["asking", "retrying", "approval", "ready", "leased", "child", "message", "session"]


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """An open step. `attempt` counts attempts from 1 (for a tool step: the epoch); `failures` the failed ones.

    `agent` is whose function it is, or which agent the child is; `asks` what a person is asked besides leave for a call.
    """

    status: StepStatus
    attempt: int = 0
    failures: int = 0
    due_ms: int | None = None
    tool: str | None = None
    call_id: str | None = None
    worker: str | None = None
    approval_id: str | None = None
    effect_hash: str | None = None
    unknown_epoch: int | None = None
    agent: str | None = None
    child_id: str | None = None
    asks: ev.ApprovalKind | None = None

    @property
    def without_outcome(self) -> int:
        """Attempts that did not fail: the lost ones, and the one in flight if there is one.

        Every attempt at an open step fails, is lost or is in flight, so that losses need no field of their own, and
        those that an older release recorded count too.
        """
        return self.attempt - self.failures


class TurnState(msgspec.Struct, omit_defaults=True):
    """The state of one agent's loop; stored with every commit. `shared` is the tools' state; an absent `v` is 1.

    `team` is where a team's machine stands; `stop_asked` the last turn whose stop condition has said no;
    `refusals` how often an answer or a call was refused, by whom; `prepared` the turn whose before_model has run; `condensed`
    the turn before which the conversation was condensed;
    `stopping` that somebody wants the end after this turn; `unseen` how many messages no model has been shown;
    `budgeted` that a budget counts its calls; `prefilled` that the calls before the first turn were made;
    `replay` of a replay: what is done about a call that was not recorded.
    """

    v: int = 1
    phase: Phase = "new"
    turn: int = 0
    steps: dict[str, Step] = {}
    calls: dict[str, int] = {}
    rejections: int = 0
    deadline_ms: int | None = None
    # The turn's answer is in and everything it asked for is settled: the next turn may begin.
    settled: bool = False
    shared: dict[str, Any] = {}
    usage: Usage = Usage()
    team: Team = Team()
    stop_asked: int = 0
    refusals: dict[str, int] = {}
    prepared: int = 0
    condensed: int = 0
    stopping: bool = False
    unseen: int = 0
    budgeted: bool = False
    prefilled: bool = False
    replay: str = ""

    @property
    def over(self) -> bool:
        """Whether the execution has ended (E5)."""
        return self.phase in ("completed", "failed", "cancelled")


_RUNNING: tuple[Phase, ...] = ("active", "paused", "quarantined")
_STEP_EVENTS: tuple[type[ev.Event], ...] = (
    ev.ModelRequested,
    ev.ModelCompleted,
    ev.ModelFailed,
    ev.ModelLost,
    ev.OutputRejected,
    ev.AnswerRefused,
    ev.JudgeRequested,
    ev.CondenseRequested,
    ev.GuardDecided,
    ev.HookEnded,
    ev.Replaced,
    ev.AnswerProposed,
    ev.HandoffDecided,
    ev.MessageReceived,
    ev.ModelInterrupted,
    ev.MessageAwaited,
    ev.MessagesTaken,
    ev.StopRequested,
    ev.SessionAwaited,
    ev.SessionJoined,
    ev.CallsPrefilled,
    ev.BudgetReached,
    ev.BudgetGranted,
    ev.ToolRequested,
    ev.ToolRefused,
    ev.ToolStarted,
    ev.ToolCompleted,
    ev.ToolFailed,
    ev.ToolLost,
    ev.TimerFired,
    ev.ApprovalRequested,
    ev.ApprovalDecided,
    ev.FunctionRequested,
    ev.ChildRequested,
    ev.ChildCompleted,
    ev.ChildFailed,
    ev.AgentChosen,
    ev.GateDecided,
    ev.StopDecided,
    ev.PlanAccepted,
    ev.PlanRejected,
    ev.PlanFailed,
    ev.ArgumentsRequested,
)

# What begins something, and so is not recorded while the execution is paused or quarantined.
_BEGIN = (
    ev.CondenseRequested,
    ev.ModelRequested,
    ev.ToolStarted,
    ev.TimerFired,
    ev.SessionAwaited,
    ev.CallsPrefilled,
)

PHASES: dict[tuple[Phase, type[ev.Event]], Phase] = {
    ("new", ev.ExecutionStarted): "active",
    ("active", ev.ExecutionPaused): "paused",
    ("quarantined", ev.ExecutionPaused): "paused",
    ("paused", ev.ExecutionResumed): "active",
    ("quarantined", ev.ExecutionResumed): "active",
    # While paused or quarantined, steps in flight may end, and nothing begins.
    **{
        (phase, kind): phase
        for phase in _RUNNING
        for kind in _STEP_EVENTS
        if phase == "active" or kind not in _BEGIN
    },
    **{(phase, ev.ExecutionQuarantined): "quarantined" for phase in ("active", "paused")},
    **{(phase, ev.ExecutionCompleted): "completed" for phase in _RUNNING},
    **{(phase, ev.ExecutionFailed): "failed" for phase in _RUNNING},
    **{(phase, ev.ExecutionCancelled): "cancelled" for phase in _RUNNING},
}

# (status before, event) -> the statuses that may come of it, by what the event says. None before: the step is not
# open; None after: it is settled.
STEPS: dict[tuple[StepStatus | None, type[ev.Event]], tuple[StepStatus | None, ...]] = {
    (None, ev.ModelRequested): ("asking",),
    ("retrying", ev.ModelRequested): ("asking",),
    ("asking", ev.ModelCompleted): (None,),
    ("asking", ev.ModelFailed): ("retrying",),
    ("asking", ev.ModelLost): ("retrying",),
    (None, ev.OutputRejected): (None,),
    (None, ev.AnswerRefused): (None,),
    (None, ev.JudgeRequested): ("asking",),
    ("retrying", ev.JudgeRequested): ("asking",),
    (None, ev.ArgumentsRequested): ("asking",),
    ("retrying", ev.ArgumentsRequested): ("asking",),
    (None, ev.CondenseRequested): ("asking",),
    ("retrying", ev.CondenseRequested): ("asking",),
    (None, ev.ToolRefused): (None,),
    (None, ev.ToolRequested): ("ready",),
    (None, ev.ApprovalRequested): ("approval",),
    ("ready", ev.ToolStarted): ("leased",),
    ("ready", ev.TimerFired): ("ready",),
    ("leased", ev.ToolCompleted): (None,),
    ("leased", ev.ToolFailed): ("ready", None),
    ("leased", ev.ToolLost): ("ready", None),
    # The policy `ask`: a person decides whether a call that may have taken effect runs again.
    ("ready", ev.ApprovalRequested): ("approval",),
    # Approved, a new call is requested in the event that follows; an unknown one is on offer again.
    ("approval", ev.ApprovalDecided): (None, "ready"),
    (None, ev.FunctionRequested): ("ready",),
    # A call of an agent that a person has approved begins in the event that follows.
    (None, ev.ChildRequested): ("child",),
    ("child", ev.ChildCompleted): (None,),
    ("child", ev.ChildFailed): (None,),
    ("asking", ev.ModelInterrupted): (None,),
    ("retrying", ev.ModelInterrupted): (None,),
    (None, ev.MessageAwaited): ("message",),
    (None, ev.MessagesTaken): (None,),
    ("message", ev.MessagesTaken): (None,),
    ("asking", ev.BudgetReached): (None,),
    ("ready", ev.BudgetReached): (None,),
    (None, ev.SessionAwaited): ("session",),
    ("session", ev.SessionJoined): (None,),
}
