"""What a model is asked, assembled from the plan and the conversation: a turn, a judgement, a summary, arguments.

The messages of a turn are a prefix of those of the next one, but where a window of the agent's memory moves on or the
conversation is condensed: both are seldom, so that a provider's cache of the prefix stays good (see `windows`).
"""

from perdure.core import events as ev
from perdure.core.arguments import arguments_request
from perdure.core.budgets import estimate_call
from perdure.core.definition import OutputDefinition
from perdure.core.guards import JUDGE_SCHEMA, judge_text
from perdure.core.messages import Message, TextPart, user
from perdure.core.model import ModelRequest, ModelSettings, Usage
from perdure.core.model_name import parse_model
from perdure.core.plan import Plan
from perdure.core.tokens import Tokens, heuristic_tokens
from perdure.core.transcript import Transcript
from perdure.core.windows import WindowLimits, summary_prompt, windowed

_PROMPT_SHARE = 0.6  # of the context window, for the request of a summary


def remembered(plan: Plan) -> list[Message]:
    """The messages that an agent's memory puts before everything else; those of the system are instructions."""
    if plan.memory is None:
        return []
    return [
        Message("assistant" if m["role"] == "assistant" else "user", (TextPart(m["content"]),))
        for m in plan.memory.messages
        if m["role"] != "system"
    ]


def _system_texts(plan: Plan) -> list[str]:
    messages = plan.memory.messages if plan.memory is not None else ()
    return [m["content"] for m in messages if m["role"] == "system"]


def shown(plan: Plan, transcript: Transcript, tokens: Tokens = heuristic_tokens) -> list[Message]:
    """The messages that the agent's model is shown."""
    memory = plan.memory
    if memory is None or (memory.max_messages is None and memory.max_tokens is None):
        return list(transcript.messages)  # a copy: the conversation goes on while the model is asked
    limits = WindowLimits(memory.max_messages, memory.max_tokens, len(remembered(plan)))
    return windowed(transcript.messages, limits, tokens)


def assemble(
    plan: Plan,
    transcript: Transcript,
    execution_id: str,
    step: str,
    attempt: int,
    tokens: Tokens = heuristic_tokens,
) -> ModelRequest:
    """The request of a model step: the plan's part and the conversation as it is."""
    judge = transcript.judges.get(step)
    if judge is not None:
        return _judge_request(plan, judge, execution_id, attempt)
    asked = transcript.condensing.get(step)
    if asked is not None:
        return _summary_request(plan, transcript, asked, execution_id, attempt)
    writing = transcript.writing.get(step)
    if writing is not None:
        model = plan.model if transcript.model is None else parse_model(transcript.model)
        return arguments_request(plan, model, transcript.given.text, writing, execution_id, attempt)
    output: OutputDefinition | None = plan.output
    instructions = plan.instructions if transcript.instructions is None else transcript.instructions
    return ModelRequest(
        execution_id=execution_id,
        step=step,
        attempt=attempt,
        model=plan.model if transcript.model is None else parse_model(transcript.model),
        instructions="\n\n".join(
            filter(
                None,
                (instructions, *_system_texts(plan), transcript.recalled, transcript.added_instructions),
            )
        ),
        messages=shown(plan, transcript, tokens),
        tools=plan.tool_specs,
        settings=plan.settings,
        earlier=transcript.earlier if plan.memory is None else 0,
        output_schema=output.schema if output else None,
        output_name=output.name if output else None,
    )


def may_use(plan: Plan, transcript: Transcript, step: str, attempt: int) -> Usage:
    """The most tokens that an attempt in flight can use, as far as they are counted right; none without a budget."""
    if not transcript.budgets:
        return Usage()
    most = estimate_call(assemble(plan, transcript, "", step, attempt), None).estimate
    return Usage(most.input_tokens, most.output_tokens)


def _judge_request(plan: Plan, judge: ev.JudgeRequested, execution_id: str, attempt: int) -> ModelRequest:
    """What a judging model is asked: the policy and the text, and nothing of the conversation."""
    # A name is one guardrail's in one place: the agent and each of its tools may have one of this name.
    asked = plan.tools[judge.tool].guards if judge.tool else plan.guards
    guard = next(g for g in asked if g.name == judge.guard)
    return ModelRequest(
        execution_id=execution_id,
        step=judge.step,
        attempt=attempt,
        model=parse_model(guard.model, guard.base_url),
        instructions="",
        messages=[user(judge_text(guard.policy, judge.content))],
        tools=(),
        settings=ModelSettings(max_tokens=guard.max_tokens, extra=plan.settings.extra),
        output_schema=JUDGE_SCHEMA,
        output_name="Verdict",
    )


def _summary_request(
    plan: Plan, transcript: Transcript, asked: ev.CondenseRequested, execution_id: str, attempt: int
) -> ModelRequest:
    """What the agent's own model is asked when its conversation is condensed."""
    part = [
        m
        for n, m in enumerate(transcript.messages[asked.first : asked.last], asked.first)
        if n != asked.asked
    ]
    room = int(_PROMPT_SHARE * (plan.context_window or asked.tokens))
    return ModelRequest(
        execution_id=execution_id,
        step=asked.step,
        attempt=attempt,
        model=plan.model if transcript.model is None else parse_model(transcript.model),
        instructions="",
        messages=[user(summary_prompt(part, room))],
        tools=(),
        settings=plan.settings,
    )
