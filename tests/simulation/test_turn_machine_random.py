"""The turn machine under random inputs, legal and not, with crashes between any two of them.

`Play` checks every boundary (I2 to I7, I9, I11, the order of messages); here sequences are drawn that nobody
thought of. In the end the faults stop, and the execution must come to its end (liveness).

Two ways of drawing: hypothesis, which shrinks what fails to the few inputs that matter, and plain seeds, which go
deeper into an execution. A failing seed is in the test's name.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.errors import ExecutionError, ToolError
from perdure.core.machines.turn import effects_of, next_due_ms
from perdure.core.machines.turn_state import encode_state
from perdure.core.messages import Message, TextPart, ToolCallPart, user
from perdure.core.model import ModelReply, Usage
from perdure.core.requests import assemble
from tests.unit.core.plans import FORECAST, plan
from tests.unit.core.play import FAULT, OUTAGE, T0, Play, call

# What an agent with tools records: teams, guardrails and what is said to it are not drawn here.
AGENT_KINDS = {
    kind
    for kind in get_args(ev.AnyEvent)
    if kind.__name__.startswith(("Execution", "Model", "Tool", "Approval"))
} - {ev.ModelInterrupted} | {ev.OutputRejected, ev.TimerFired}
REFUSED = {"E0305", "E0307", "E0402", "E0408", "E0409"}
NAMES = ("weather", "once", "refund", "refund_once", "email", "charge", "transfer", "nothing", "wether")

CALLS = st.one_of(
    st.builds(lambda name: call(name, call_id="c", city="a", amount=1), st.sampled_from(NAMES[6:])),
    st.builds(lambda name: call(name, city="a"), st.sampled_from(("weather", "once", "email", "charge"))),
    st.builds(lambda name, n: call(name, amount=n), st.sampled_from(("refund", "refund_once", "transfer")), st.integers(0, 9)),
    st.just(ToolCallPart("m", "weather", None, malformed="{")),
)  # fmt: skip
TEXTS = st.sampled_from(("", "Hm.", '{"degrees": 3}', '{"degrees": "x"}'))
REPLIES = st.builds(
    lambda text, calls, finish: ModelReply(
        Message("assistant", ((TextPart(text),) if text else ()) + tuple(calls)), Usage(3, 1), finish
    ),
    TEXTS,
    st.one_of(st.just([]), *[st.lists(CALLS, min_size=1, max_size=4)] * 3),
    st.sampled_from(("stop",) * 6 + ("tool_calls", "length", "length", "content_filter", "error")),
)
OFF_BY = st.sampled_from((0, 0, 0, 0, 1, -1))
GO = st.tuples(st.just("go"), REPLIES, st.none())
# Mostly what the execution asks for next, or it never gets anywhere; in between whatever may happen at all.
OPERATIONS = st.lists(
    st.one_of(
        *[GO] * 10,
        st.tuples(st.just("reply"), REPLIES, OFF_BY),
        st.tuples(st.just("model_error"), st.sampled_from((True, True, True, False)), OFF_BY),
        st.tuples(st.just("take"), st.integers(0, 5), st.none()),
        st.tuples(st.sampled_from(("done", "fail", "silent")), st.integers(0, 5), OFF_BY),
        st.tuples(st.sampled_from(("fail", "silent")), st.integers(0, 5), st.just(0)),
        st.tuples(
            st.just("decide"), st.integers(0, 5), st.sampled_from(("no", "edit", "hash", "asked", "bad"))
        ),
        st.tuples(st.just("tick"), st.sampled_from((0, 1, 1_000, 5_000)), st.none()),
        st.tuples(st.sampled_from(("pause", "quarantine", "recover", "crash")), st.none(), st.none()),
        st.tuples(st.sampled_from(("cancel", "begin")), st.integers(0, 9), st.none()),
    ),
    min_size=10,
    max_size=80,
)
PLANS = st.builds(
    lambda turns, output: plan(max_turns=turns, output=FORECAST if output else None, output_retries=2),
    st.sampled_from((1, 2, 4, 8)),
    st.booleans(),
)


def pick(play: Play, index: int, *statuses: str) -> str:
    """A step by its number: first those in one of *statuses*, then all others, then one that is not there."""
    steps = play.state.steps
    wanted = [i for i, s in steps.items() if s.status in statuses]
    found = [*wanted, *(i for i in steps if i not in wanted), "t1.c0", "t99.c0"]
    return found[index % max(1, len(wanted)) if wanted else index % len(found)]


def decision(play: Play, index: int, how: str) -> inp.Decide:
    """A decision, sound or not, about the approval of some step."""
    step_id = pick(play, index, "approval")
    step = play.state.steps.get(step_id)
    pending = play.transcript.calls.get(step_id)
    asked: dict[str, Any] = pending.arguments if pending else {}
    edited = {"edit": {"amount": 99}, "bad": {"amount": "all"}}.get(how)
    return inp.Decide(
        (step.approval_id if step else None) or "a-none",
        "rejected" if how == "no" else "approved",
        "ann",
        "api",
        {**asked, "more": 1} if how == "asked" else asked,
        effect_hash="0" * 64 if how == "hash" else None,
        arguments=edited,
    )


def report_of(play: Play, operation: tuple[str, Any, Any]) -> inp.Input:
    """What a model or a worker reports, about the attempt that is in flight or about another one."""
    name, first, off_by = operation
    model = name in ("reply", "model_error")
    step_id = play.model_step if model else pick(play, first, "leased")
    step = play.state.steps.get(step_id)
    attempt = (step.attempt if step else 1) + off_by
    reports: dict[str, Callable[[], inp.Input]] = {
        "reply": lambda: inp.ModelSucceeded(step_id, attempt, first),
        "model_error": lambda: inp.ModelErrored(step_id, attempt, OUTAGE, first, 0.5),
        "done": lambda: inp.TaskSucceeded(
            step_id, attempt, {"r": first}, {"k": first} if first == 1 else None
        ),
        "fail": lambda: inp.TaskErrored(step_id, attempt, FAULT, first != 2, 0.5),
        "silent": lambda: inp.TaskSilent(step_id, attempt, "silent"),
    }
    return reports[name]()


def input_of(play: Play, operation: tuple[str, Any, Any]) -> inp.Input | None:
    """What an operation means in the state that the execution is in; None: it means nothing there."""
    name, first, second = operation
    if name in ("reply", "model_error", "done", "fail", "silent"):
        return report_of(play, operation)
    if name == "decide":
        return decision(play, first, second)
    simple: dict[str, inp.Input | None] = {
        "take": inp.TakeTask(pick(play, first or 0, "ready"), "w"),
        "tick": inp.Tick(),
        "pause": inp.Pause("ann"),
        "resume": inp.Resume("ann"),
        "quarantine": inp.Quarantine(FAULT),
        "recover": inp.Recover("restart"),
        "cancel": inp.Cancel("ann") if first == 9 else None,
        "begin": inp.Begin("p", user("again"), "ann") if first == 8 else None,
    }
    return simple[name]


def operate(play: Play, operation: tuple[str, Any, Any]) -> None:
    """Give one input; a refusal must be one of those that are promised, and must change nothing."""
    if operation[0] == "crash":
        play.crash()
        play.recover()
        return
    if operation[0] == "go":
        go_on(play, operation[1])
        return
    item = input_of(play, operation)
    if item is None:
        return
    play.now += operation[1] if operation[0] == "tick" else 1
    before, count = encode_state(play.state), len(play.records)
    try:
        play.give(item)
    except (ExecutionError, ToolError) as refused:
        expected = {"E0414", "E0402"} if isinstance(item, inp.Begin) else REFUSED
        assert refused.code in expected, refused  # noqa: PT017 - whether it is raised is up to the draw
        assert encode_state(play.state) == before
        assert len(play.records) == count


def go_on(play: Play, answer: ModelReply) -> None:
    """Do the next thing that the execution asks for; a model answers *answer*."""
    steps = play.state.steps
    if play.state.over:
        return
    if play.state.phase != "active":
        play.resume()
    elif play.model_step in steps and steps[play.model_step].status == "asking":
        attempt = steps[play.model_step].attempt
        request = assemble(play.plan, play.transcript, play.execution_id, play.model_step, attempt)
        assert request.messages == play.shown
        play.give(inp.ModelSucceeded(play.model_step, attempt, answer))
    elif waiting := [i for i, s in steps.items() if s.status == "approval"]:
        play.decide(waiting[0])
    elif offered := [e.step for e in effects_of(play.state)]:
        play.take(offered[0])
    elif leased := [i for i, s in steps.items() if s.status == "leased"]:
        play.done(leased[-1])
    else:
        due = next_due_ms(play.state)
        assert due is not None, "I11: nothing moves it"
        play.now = max(play.now, due)
        assert play.tick().events, "I11: the time has come and nothing happens"


def finish(play: Play) -> None:
    """The faults stop: everybody does what the execution asks for, and it must end."""
    answer = ModelReply(Message("assistant", (TextPart('{"degrees": 1}'),)), Usage(), "stop")
    for _ in range(400):
        if play.state.over:
            return
        go_on(play, answer)
    pytest.fail("I11: it does not end")


def live(play: Play, operations: Iterable[tuple[str, Any, Any]]) -> None:
    """Do all of *operations*, then let the faults stop."""
    for operation in operations:
        operate(play, operation)
    play.crash()
    finish(play)
    (end,) = [r.event for r in play.records if isinstance(r.event, ev.TERMINAL)]
    assert play.last is end


@settings(max_examples=150)
@given(PLANS, OPERATIONS, st.sampled_from((None, None, 20_000)))
def test_any_sequence_of_inputs_keeps_the_invariants_and_can_be_brought_to_an_end(
    drawn: Any, operations: list[tuple[str, Any, Any]], limit: int | None
):
    """Whatever happens, nothing is lost, doubled or out of order, and the execution can go on to its end."""
    live(Play(drawn).begin(deadline_ms=None if limit is None else T0 + limit), operations)


def drawn_reply(rng: random.Random) -> ModelReply:
    """An answer that mostly asks for calls."""
    names = ("weather", "weather", "once", "refund", "refund_once", "email", "charge", "transfer", "nothing")
    calls = [
        call(rng.choice(names), call_id=f"c{i}", city="a", amount=i)
        for i in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4)))
    ]
    strict = {"weather", "once", "email", "charge"}
    fitting = [call(c.tool, call_id=c.call_id, city="a") if c.tool in strict else c for c in calls]
    finish: Any = rng.choice(("stop",) * 12 + ("length",) * 6 + ("content_filter", "error"))
    text = rng.choice(("", "Hm.", "Hm.", '{"degrees": "x"}'))
    parts = ((TextPart(text),) if text else ()) + tuple(fitting if rng.random() < 0.9 else calls)
    return ModelReply(Message("assistant", parts), Usage(3, 1), finish)


def drawn_operation(rng: random.Random) -> tuple[str, Any, Any]:
    """What the execution asks for next, or a disturbance."""
    if rng.random() < 0.6:
        return "go", drawn_reply(rng), None
    disturbances = "reply model_error take take take done fail fail silent silent decide decide"
    name = rng.choice([*disturbances.split(), "tick", "pause", "quarantine", "recover", "crash", "begin"])
    off_by = rng.choice((0, 0, 0, 1, -1))
    if name == "reply":
        return name, drawn_reply(rng), off_by
    if name == "model_error":
        return name, rng.random() < 0.95, off_by
    if name == "decide":
        return name, rng.randrange(6), rng.choice(("yes", "no", "edit", "hash", "asked", "bad"))
    if name == "tick":
        return name, rng.choice((1, 1_000, 5_000)), None
    return name, 8 if name == "begin" else rng.randrange(6), off_by


def live_by(seed: int) -> Play:
    """The execution of one seed."""
    rng = random.Random(seed)
    output = FORECAST if rng.random() < 0.2 else None
    play = Play(plan(max_turns=rng.choice((3, 8, 20)), output=output, output_retries=9))
    play.begin(deadline_ms=T0 + 60_000 if rng.random() < 0.1 else None)
    live(play, [drawn_operation(rng) for _ in range(rng.choice((20, 60, 120)))])
    return play


@pytest.mark.parametrize("seed", range(60))
def test_a_long_life_keeps_the_invariants(seed: int):
    """Many turns with every kind of disturbance end in order."""
    live_by(seed)


def test_the_seeds_go_deep_and_everywhere():
    """The seeds above are not shallow: they reach late turns, every end, and every kind of event."""
    plays = [live_by(seed) for seed in range(60)]
    assert sum(play.state.turn >= 5 for play in plays) >= 15
    assert {play.state.phase for play in plays} == {"completed", "failed"}
    unseen = AGENT_KINDS - {type(r.event) for play in plays for r in play.records}
    assert unseen == {ev.ExecutionCancelled}


@pytest.mark.long
@pytest.mark.parametrize("block", range(100))
def test_many_long_lives_keep_the_invariants(block: int):
    """The same for a hundred times as many seeds."""
    for seed in range(1_000 + 60 * block, 1_060 + 60 * block):
        live_by(seed)


def test_the_state_stays_small_over_two_hundred_turns():
    """Bytes of the state do not grow with the turns; every turn's events are as large as the first turn's."""
    play = Play(plan(max_turns=300), checked=False).begin()
    sizes, per_turn = [], []
    for turn in range(1, 201):
        count = len(play.records)
        play.reply("Looking.", *(call("weather", call_id=f"c{i}", city=str(i)) for i in range(3)))
        for index in range(3):
            play.run(f"t{turn}.c{index}", "x" * 100, {"last": index})
        sizes.append(len(encode_state(play.state)))
        per_turn.append(sum(len(ev.encode(r.event)) for r in play.records[count:]))
    assert max(sizes) < 300
    assert max(sizes) - sizes[9] <= 16
    assert max(per_turn) - per_turn[0] <= 64
    assert not play.transcript._results  # the next turn has taken them
    assert not play.transcript.calls
    play.check()
