"""Scenarios of teams: each strategy, agents as tools, questions to people. Together they walk every team's table.

What happens between two inputs is done through `between`: once as it is, once during a pause, once in quarantine,
because what is in flight may end then, and what it leads to is recorded and does not begin.
"""

from collections.abc import Callable

from perdure.core import conditions as cond
from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.plan import Member
from tests.unit.core.plans import TEAM_TOOLS, TOOLS, plan, team
from tests.unit.core.play import Play, call

Stop = Callable[[Play], object] | None


def between(play: Play, stop: Stop, act: Callable[[], object]) -> None:
    """Do *act* while the execution is stopped, and go on."""
    if stop is not None:
        stop(play)
    act()
    if stop is not None and not play.state.over:
        play.resume()


def pipeline(stop: Stop = None) -> Play:
    """Stages without a gate, with one that is a text, and with one that is a function; all are open."""
    text = Member("editor", "p-editor", gate=cond.TextGate("STOP"))
    function = Member("checker", "p-checker", gate=cond.FunctionGate())
    play = Play(team("sequential", "writer", text, function, "printer")).begin("A poem")
    between(play, stop, lambda: play.child_done("c1", "draft"))
    between(play, stop, lambda: play.child_done("c2", "better"))
    between(play, stop, lambda: play.child_done("c3", {"words": 12}))
    play.take("c3.gate")
    between(play, stop, lambda: play.done("c3.gate", {"open": True}))
    between(play, stop, lambda: play.child_done("c4", "printed"))
    return play


def pipeline_closed() -> Play:
    """A gate whose text is in the output ends the pipeline with that output."""
    play = Play(team("sequential", Member("writer", "p", gate=cond.TextGate("STOP")), "editor")).begin()
    play.child_done("c1", "STOP: nothing to write of")
    return play


def pipeline_closed_by_function() -> Play:
    """A gate that is a function says no, at its second attempt."""
    play = Play(team("sequential", Member("writer", "p", gate=cond.FunctionGate()), "editor")).begin()
    play.child_done("c1", "draft")
    play.take("c1.gate")
    play.fails("c1.gate")
    play.tick(60_000)
    play.run("c1.gate", {"open": False})
    return play


def pipeline_breaks(stop: Stop = None) -> Play:
    """A stage fails, and the pipeline with it."""
    play = Play(team("sequential", "writer", "editor")).begin()
    between(play, stop, lambda: play.child_fails("c1"))
    return play


def gate_fails() -> Play:
    """E8: a gate that cannot be asked is no yes."""
    play = Play(team("sequential", Member("writer", "p", gate=cond.FunctionGate()), "editor")).begin()
    play.child_done("c1", "draft")
    play.take("c1.gate")
    play.fails("c1.gate", retryable=False)
    return play


def panel(stop: Stop = None) -> Play:
    """Three at once, one of which fails and is left out; the team's own model sums up."""
    made = team("parallel", "ann", "bob", "cy", on_child_failure="skip", sums_up=True)
    play = Play(made).begin("Tea or coffee?", context={"hour": 9})
    between(play, stop, lambda: play.child_done("c3", "tea"))
    between(play, stop, lambda: play.child_fails("c2"))
    between(play, stop, lambda: play.child_done("c1", {"drink": "coffee"}))
    play.reply("Both.")
    return play


def panel_without_sum() -> Play:
    """The answers are put together by name."""
    play = Play(team("parallel", "ann", "bob")).begin()
    play.child_done("c2", "two")
    play.child_done("c1", "one")
    return play


def panel_fails_at_once() -> Play:
    """One fails, and the others are stopped."""
    play = Play(team("parallel", "ann", "bob", "cy")).begin()
    play.child_done("c1")
    play.child_fails("c2", "cancelled")
    return play


def panel_waits_and_fails() -> Play:
    """One fails; the others end, and then the team fails."""
    play = Play(team("parallel", "ann", "bob", on_child_failure="wait")).begin()
    play.child_fails("c1")
    play.child_done("c2")
    return play


def conversation(stop: Stop = None) -> Play:
    """Two in turn until the stop condition, a function, says so."""
    play = Play(team("round_robin", "ann", "bob", stop_when=True)).begin("Count.")
    for turn in (1, 2, 3):
        between(play, stop, lambda turn=turn: play.child_done(f"c{turn}", str(turn)))
        play.take(f"c{turn}.stop")
        said = {"stop": turn == 3}
        between(play, stop, lambda turn=turn, said=said: play.done(f"c{turn}.stop", said))
    return play


def conversation_by_words() -> Play:
    """Two in turn until a text is mentioned; the team sums up."""
    made = team("round_robin", "ann", "bob", termination=cond.TextMention("done"), sums_up=True)
    play = Play(made).begin("Talk.")
    play.child_done("c1", "Hm.")
    play.child_done("c2", "Done!")
    play.reply("They agree.")
    return play


def conversation_breaks(stop: Stop = None) -> Play:
    """One of them fails, and the conversation with it."""
    play = Play(team("round_robin", "ann", "bob")).begin()
    play.child_done("c1")
    between(play, stop, lambda: play.child_fails("c2"))
    return play


def conversation_limited() -> Play:
    """The turns are used up; who may follow whom is limited."""
    made = team("round_robin", "ann", "bob", "cy", max_turns=3, transitions={"ann": ("cy",)})
    play = Play(made).begin()
    for turn in (1, 2, 3):
        play.child_done(f"c{turn}", f"turn {turn}")
    return play


def drawn_speakers() -> Play:
    """Who speaks is drawn, with a stop condition, until one of them fails."""
    play = Play(team("random", "ann", "bob", "cy", stop_when=True)).begin()
    play.child_done("c1")
    play.run("c1.stop", {"stop": False})
    play.child_fails("c2")
    return play


def drawn_without_condition() -> Play:
    """Who speaks is drawn until a number of messages is reached."""
    play = Play(team("random", "ann", "bob", termination=cond.MaxMessages(2))).begin()
    play.child_done("c1")
    play.child_done("c2")
    return play


def picked_speakers(stop: Stop = None) -> Play:
    """A person picks who speaks, and at last that nobody does."""
    play = Play(team("manual", "ann", "bob", sums_up=True)).begin("A plan?")
    between(play, stop, lambda: play.decide("p1", answer={"agent": "bob"}))
    between(play, stop, lambda: play.child_done("c1", "Plan B."))
    play.decide("p2", answer={"agent": "ann"})
    play.child_done("c2", "Plan A.")
    between(play, stop, lambda: play.decide("p3", "rejected", reason="good enough"))
    play.reply("A, then B.")
    return play


def picked_with_condition() -> Play:
    """A person picks, a function is asked after each turn, and one of the agents fails."""
    play = Play(team("manual", "ann", "bob", stop_when=True)).begin()
    play.decide("p1", answer={"agent": "ann"})
    play.child_done("c1")
    play.run("c1.stop", {"stop": False})
    play.decide("p2", answer={"agent": "bob"})
    play.child_fails("c2")
    return play


def picked_done() -> Play:
    """The person's pick is that nobody is to go on."""
    play = Play(team("manual", "ann", "bob")).begin()
    play.decide("p1", answer={"agent": "ann"})
    play.child_done("c1", "Enough.")
    play.decide("p2", answer={"agent": "DONE"})
    return play


def routed_by_agent(stop: Stop = None) -> Play:
    """A router agent picks one whose answer is not the last, then says that it is done."""
    made = team("router", "ann", "bob", router=Member("guide", "p-guide"), sums_up=True)
    play = Play(made).begin("Who?")
    between(play, stop, lambda: play.child_done("r1", {"agent": "bob", "final": False}))
    between(play, stop, lambda: play.child_done("c1", "I think so."))
    play.child_done("r2", {"agent": "ann", "final": False})
    play.child_done("c2", "I do not.")
    play.child_done("r3", {"agent": "DONE"})
    play.reply("They differ.")
    return play


def routed_by_function() -> Play:
    """A function picks, and that answer is the last."""
    play = Play(team("router", "ann", "bob", router_function=True)).begin()
    play.run("r1", {"agent": "ann", "final": True})
    play.child_done("c1", "Here.")
    return play


def router_fails() -> Play:
    """The router agent fails, and the team with it."""
    play = Play(team("router", "ann", router=Member("guide", "p-guide"))).begin()
    play.child_fails("r1")
    return play


def routed_agent_fails() -> Play:
    """The agent that was picked fails."""
    play = Play(team("router", "ann", router_function=True)).begin()
    play.run("r1", {"agent": "ann"})
    play.child_fails("c1")
    return play


def router_names_nobody() -> Play:
    """E8: a function that picks a name which nobody has ends the team."""
    play = Play(team("router", "ann", router_function=True)).begin()
    play.run("r1", {"agent": "zoe"})
    return play


def swarm(stop: Stop = None) -> Play:
    """They hand over by a tool, by a text, and by functions; at last nobody takes over."""
    handoffs = (
        cond.OnTextMention("bob", "invoice"),
        cond.OnFunction("cy"),
        cond.OnFunction("dee"),
    )
    play = Play(team("swarm", "ann", "bob", "cy", "dee", handoffs=handoffs, stop_when=True)).begin("Hello")
    between(play, stop, lambda: play.child_done("c1", "", handover=ev.Handover("cy", "he knows")))
    play.run("c1.stop", {"stop": False})
    play.child_done("c2", "See the INVOICE.")
    play.run("c2.stop", {"stop": False})
    play.child_done("c3", "Paid.")
    play.run("c3.stop", {"stop": False})
    play.take("c3.h1")
    between(play, stop, lambda: play.done("c3.h1", {"handoff": False}))
    play.take("c3.h2")
    between(play, stop, lambda: play.done("c3.h2", {"handoff": True}))
    play.child_done("c4", "Bye.")
    play.run("c4.stop", {"stop": True})
    return play


def swarm_without_stop_condition() -> Play:
    """Two functions are asked after a turn, and neither lets anybody take over."""
    handoffs = (cond.OnFunction("bob"), cond.OnFunction("cy"))
    play = Play(team("swarm", "ann", "bob", "cy", handoffs=handoffs)).begin()
    play.child_done("c1", "Only me.")
    play.run("c1.h0", {"handoff": False})
    play.run("c1.h1", {"handoff": False})
    return play


def swarm_breaks() -> Play:
    """One of a swarm fails, and the swarm with it."""
    play = Play(team("swarm", "ann", "bob")).begin()
    play.child_fails("c1")
    return play


def agents_as_tools(stop: Stop = None) -> Play:
    """An agent and a person answer calls, beside a tool; an agent that needs leave gets it, with edits."""
    play = Play(plan(tools={**TOOLS, **TEAM_TOOLS}, required_tools=("weather",))).begin("Report")
    between(play, stop, lambda: play.reply("Not yet."))  # without the tool that it must call
    asked = (
        call("research", request="owls"),
        call("publish", request="at once"),
        call("ask_person", question="Today?"),
        call("weather", city="a"),
    )
    between(play, stop, lambda: play.reply("Let me see.", *asked))
    between(play, stop, lambda: play.child_done("t2.c0", {"owls": 3}))
    between(play, stop, lambda: play.decide("t2.c1", arguments={"request": "tomorrow"}))
    between(play, stop, lambda: play.decide("t2.c2", answer={"answer": "yes"}))
    play.run("t2.c3", {"degrees": 4})
    between(play, stop, lambda: play.child_fails("t2.c1"))
    play.reply("Done.")
    return play


def handed_to_another() -> Play:
    """An agent hands the conversation to another, hears its answer, and speaks after it."""
    play = Play(plan(tools={**TOOLS, **TEAM_TOOLS})).begin("A new sofa, please")
    play.reply("One moment.", call("transfer_to_sales", note="wants a sofa"))
    play.child_done("t1.c0", "Which colour?")
    play.reply("Sales ask for the colour.")
    return play


def handed_and_left() -> Play:
    """An agent that does not speak after the handoff ends with the other's answer."""
    play = Play(plan(tools={**TOOLS, **TEAM_TOOLS}, synthesize=False)).begin("A new sofa, please")
    play.reply("", call("transfer_to_sales"))
    play.child_done("t1.c0", "Which colour?")
    return play


def handed_over() -> Play:
    """A handover ends the execution, and another call of the same answer is not run."""
    play = Play(plan(tools={**TOOLS, **TEAM_TOOLS})).begin("My invoice")
    play.reply("They will help.", call("weather", city="a"), call("over_to_billing", note="invoice 7"))
    return play


def questions() -> Play:
    """A person is asked twice in one answer, may be asked no third time, and rejects; another needs leave first."""
    play = Play(plan(tools=TEAM_TOOLS)).begin()
    calls = [call("ask_twice", call_id=f"q{n}", question=str(n)) for n in range(3)]
    play.reply("", *calls, call("ask_boss", question="May we?"))
    play.decide("t1.c1", "rejected", reason="none of your business")
    play.decide("t1.c0", answer={"answer": None})
    play.decide("t1.c3")
    play.decide("t1.c3", answer={"answer": "you may"})
    play.reply("Asked.")
    return play


def required_tools() -> Play:
    """An answer without the tool that must be called is sent back three times."""
    play = Play(plan(required_tools=("weather",))).begin()
    for _ in range(4):
        play.reply("It rains.")
    return play


def stop_conditions(stop: Stop = None) -> Play:
    """An agent's own stop condition, a function, says no and then yes."""
    play = Play(plan(stop_when=True)).begin()
    for turn in (1, 2):
        play.reply(f"Try {turn}.", call("weather", city="a"))
        play.run(f"t{turn}.c0")
        play.take(f"t{turn}.stop")
        said = {"stop": turn == 2}
        between(play, stop, lambda turn=turn, said=said: play.done(f"t{turn}.stop", said))
    return play


def terminated() -> Play:
    """A condition of data ends an agent's loop after its calls are settled."""
    condition = cond.AllOf((cond.TextMention("enough"), cond.TokenUsage(total=10)))
    play = Play(plan(termination=condition)).begin()
    play.reply("Enough of this.", call("weather", city="a"))
    play.run("t1.c0")
    return play


def team_cancelled() -> Play:
    """E9: a cancel stops all children, and a late end of one changes nothing."""
    play = Play(team("parallel", "ann", "bob")).begin()
    late = inp.ChildEnded("c1", play.state.steps["c1"].child_id, "completed", usage=play.state.usage)
    play.give(inp.Cancel("ann"))
    play.give(late)
    return play


STOPPED: tuple[Callable[[Stop], Play], ...] = (
    pipeline,
    pipeline_breaks,
    panel,
    conversation,
    conversation_breaks,
    picked_speakers,
    routed_by_agent,
    swarm,
    agents_as_tools,
    stop_conditions,
)
TEAM_SCENARIOS: tuple[Callable[[], Play], ...] = (
    *STOPPED,
    pipeline_closed,
    pipeline_closed_by_function,
    gate_fails,
    panel_without_sum,
    panel_fails_at_once,
    panel_waits_and_fails,
    conversation_by_words,
    conversation_limited,
    drawn_speakers,
    drawn_without_condition,
    picked_with_condition,
    picked_done,
    routed_by_function,
    router_fails,
    routed_agent_fails,
    router_names_nobody,
    swarm_without_stop_condition,
    swarm_breaks,
    handed_to_another,
    handed_and_left,
    handed_over,
    questions,
    required_tools,
    terminated,
    team_cancelled,
)


def set_aside_teams() -> list[Play]:
    """The scenarios that say what may happen in between, during a pause and in quarantine."""
    return [made(stop) for made in STOPPED for stop in (Play.pause, Play.quarantine)]
