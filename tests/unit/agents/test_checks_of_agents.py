"""Guardrails, conditions, gates, memory, budgets, templates: what they check and what they are as data."""

from typing import Any

import pytest

from perdure.agents.budget import Budget
from perdure.agents.guardrails import (
    Guardrail,
    GuardrailResult,
    LLMGuardrail,
    OnFail,
    Position,
    RegexGuardrail,
    guardrail,
)
from perdure.agents.handoffs import OnCondition, OnTextMention, OnToolResult, TextGate, gate_data
from perdure.agents.memory import ConversationMemory
from perdure.agents.template import PromptTemplate
from perdure.agents.termination import (
    MaxMessageTermination,
    StopMessageTermination,
    TextMentionTermination,
    TokenUsageTermination,
)
from perdure.core.conditions import (
    AllOf,
    AnyOf,
    FunctionGate,
    MaxMessages,
    StopMessage,
    TextMention,
    TokenUsage,
)
from perdure.core.definition import BudgetDefinition, GuardrailDefinition
from perdure.core.errors import PerdureError


def refused(code: str, function: Any, *arguments: Any, **options: Any) -> PerdureError:
    """The error of this call."""
    with pytest.raises(PerdureError) as caught:
        function(*arguments, **options)
    assert caught.value.code == code
    return caught.value


def no_digits(text: str) -> GuardrailResult:
    """No digits."""
    return GuardrailResult(not any(map(str.isdigit, text)), "digits")


def test_a_guardrail_of_a_function():
    """It has the function's name, can be called, and says where it is written."""
    made = Guardrail(no_digits, on_fail="raise", max_retries=1)
    assert made.definition() == GuardrailDefinition("no_digits", on_fail="raise", max_retries=1)
    assert made("a1") == GuardrailResult(passed=False, message="digits")
    assert "test_checks_of_agents.py:" in made.where
    assert repr(made) == "Guardrail('no_digits', position='output', on_fail='raise')"
    assert made.__doc__ == "No digits."


def test_the_decorator_makes_one_that_can_be_given_again():
    """`@guardrail` with and without options; `Guardrail` of one takes its function and its name."""
    plain = guardrail(no_digits)
    named = guardrail(name="checked", position="input", on_fail=OnFail.FIX)(no_digits)
    assert (plain.name, named.name, named.position, named.on_fail) == (
        "no_digits",
        "checked",
        Position.INPUT,
        OnFail.FIX,
    )
    again = Guardrail(named, Position.OUTPUT)
    assert (again.name, again.func, again.position) == ("checked", no_digits, Position.OUTPUT)


def test_a_guardrail_elsewhere_has_a_name_only():
    """Without a function it is external and cannot be called here."""
    made = Guardrail(name="no_pii")
    assert (made.external, made.definition().kind) == (True, "external")
    with pytest.raises(TypeError, match="not in this process"):
        made("x")


def test_wrong_guardrails_are_refused():
    """Nothing at all, bad names, positions, reactions and counts."""
    refused("E0101", Guardrail)
    refused("E0106", Guardrail, "x")
    refused("E0104", Guardrail, lambda text: True)
    refused("E0106", Guardrail, no_digits, "middle")
    refused("E0106", Guardrail, no_digits, on_fail="ignore")
    refused("E0106", Guardrail, no_digits, max_retries=0)
    refused("E0106", RegexGuardrail, [])
    refused("E0106", RegexGuardrail, 1)
    refused("E0106", RegexGuardrail, "a", mode="maybe")
    refused("E0106", RegexGuardrail, "a", mode="allow", on_fail="fix")
    refused("E0107", LLMGuardrail, "gpt", "Be kind.")
    refused("E0106", LLMGuardrail, "mock/echo", "")
    refused("E0106", LLMGuardrail, "mock/echo", "Be kind.", max_tokens=0)


def test_every_reaction_fits_every_position():
    """A person can be asked about an input too, and what a pattern forbids is redacted without a text of its own."""
    asked = Guardrail(no_digits, "input", "human").definition()
    assert (asked.position, asked.on_fail) == ("input", "human")
    redacts = RegexGuardrail("a", on_fail="fix").definition()
    assert (redacts.mode, redacts.on_fail, redacts.message) == ("block", "fix", "")


def test_guardrails_of_the_server_as_data():
    """Patterns and policies are in the definition; no worker has a function for them."""
    regex = RegexGuardrail("a", mode="allow", name="r", message="No.", on_fail="fix", position="input")
    assert regex.definition() == GuardrailDefinition(
        "r", "regex", "input", "fix", patterns=("a",), mode="allow", message="No."
    )
    model = LLMGuardrail("mock/echo", "Be kind.", name="l", max_tokens=9, base_url="http://localhost:1")
    assert model.definition() == GuardrailDefinition(
        "l", "llm", model="mock/echo", base_url="http://localhost:1", policy="Be kind.", max_tokens=9
    )
    assert LLMGuardrail("mock/echo", "Be kind.").definition().max_tokens is None
    assert (regex.func, regex.external, model.func, model.external) == (None, False, None, False)


def test_terminations_are_put_together_flat():
    """`&` and `|` make one list of each kind, and keep the other kind as one of its parts."""
    a, b, c = TextMentionTermination("x"), StopMessageTermination(), MaxMessageTermination(2)
    x, y, z = TextMention("x"), StopMessage("TERMINATE"), MaxMessages(2)
    assert (a & b & c).condition == AllOf((x, y, z))
    assert (a | (b | c)).condition == AnyOf((x, y, z))
    assert ((a & b) | c).condition == AnyOf((AllOf((x, y)), z))
    assert (a & (b | c)).condition == AllOf((x, AnyOf((y, z))))
    assert TokenUsageTermination(max_prompt_tokens=5).condition == TokenUsage(prompt=5)
    assert "MaxMessages" in repr(c)
    for wrong in (lambda: a & "x", lambda: a | 1):
        with pytest.raises(TypeError):
            wrong()


def test_wrong_terminations_are_refused():
    """Empty texts, no limit, and limits that are none."""
    refused("E0106", TextMentionTermination, " ")
    refused("E0106", StopMessageTermination, None)
    refused("E0106", MaxMessageTermination, 0)
    refused("E0106", TokenUsageTermination)
    refused("E0106", TokenUsageTermination, 0)


def test_wrong_handoffs_and_gates_are_refused():
    """Names that cannot be, empty texts, and what is no function."""
    refused("E0104", OnToolResult, "a", "")
    refused("E0104", OnTextMention, "not a name", "x")
    refused("E0106", OnTextMention, "a", "")
    refused("E0106", OnToolResult, "a", "t", "")
    refused("E0106", OnCondition, "a", "yes")
    refused("E0106", TextGate, "")
    assert OnToolResult("a", "search").condition_data.contains is None
    assert gate_data(None) is None
    assert gate_data(len) == FunctionGate()
    assert repr(TextGate("x")) == "TextGate('x', case_sensitive=True)"
    assert repr(OnTextMention("a", "x")).startswith("OnTextMention(")


def test_memory_keeps_what_the_window_shows():
    """The oldest messages are left out first, instructions never; calls and results are texts."""
    memory = ConversationMemory([{"role": "user", "message": "one"}], max_messages=3)
    memory.add_system_message("rule")
    memory.add_assistant_message("two")
    memory.add_user_message("three")
    memory.add_tool_call("search", {"b": 1, "a": 2})
    memory.add_tool_result("search", [1])
    assert [m["content"] for m in memory.to_chat_messages()] == [
        "rule",
        'I called the tool search with {"a":2,"b":1}.',
        "The tool search answered: [1]",
    ]
    assert len(memory.definition().messages) == 3
    assert (len(memory.messages), repr(memory)) == (6, "ConversationMemory(6 messages)")
    memory.clear()
    assert (memory.to_chat_messages(), memory.max_messages) == ([], 3)


def test_a_window_smaller_than_the_instructions_shows_those():
    """All system messages stay, even when they fill the window."""
    memory = ConversationMemory(max_messages=1)
    for text in "ab":
        memory.add_system_message(text)
    memory.add_user_message("c")
    assert [m["content"] for m in memory.to_chat_messages()] == ["a", "b"]


def test_wrong_memories_are_refused():
    """Roles, contents and windows."""
    refused("E0106", ConversationMemory, [{"role": "tool", "content": "x"}])
    refused("E0106", ConversationMemory, [{"role": "user"}])
    refused("E0106", ConversationMemory, ["x"])
    refused("E0106", ConversationMemory, "x")
    refused("E0106", ConversationMemory, max_messages=0)
    refused("E0106", ConversationMemory, max_tokens=0)


def test_a_budget_as_data():
    """All of its limits are in the definition."""
    budget = Budget(
        max_cost_usd=1,
        max_tokens=2,
        max_seconds=3.5,
        max_model_calls=4,
        max_tool_calls=5,
        on_breach="downgrade",
        downgrade_model="mock/echo",
        prices={"mock/echo": {"input": 1, "output": 2}},
    )
    assert budget.definition() == BudgetDefinition(
        1.0, 2, 3.5, 4, 5, "downgrade", "mock/echo", {"mock/echo": {"input": 1.0, "output": 2.0}}
    )
    assert repr(Budget(max_tokens=5)) == "Budget(max_tokens=5, on_breach='stop')"


def test_wrong_budgets_are_refused():
    """No limit, limits of nothing, a downgrade to nowhere, and prices that are none."""
    refused("E0106", Budget)
    refused("E0106", Budget, max_cost_usd=0)
    refused("E0106", Budget, max_cost_usd=float("nan"))
    refused("E0106", Budget, max_tokens=True)
    refused("E0106", Budget, max_tokens=1, on_breach="ignore")
    refused("E0106", Budget, max_tokens=1, on_breach="downgrade")
    refused("E0106", Budget, max_tokens=1, downgrade_model="mock/echo")
    refused("E0107", Budget, max_tokens=1, on_breach="downgrade", downgrade_model="echo")
    refused("E0106", Budget, max_tokens=1, prices=[])
    refused("E0107", Budget, max_tokens=1, prices={"echo": {}})
    refused("E0106", Budget, max_tokens=1, prices={"mock/echo": {"input": 1}})
    refused("E0106", Budget, max_tokens=1, prices={"mock/echo": {"input": 1, "output": -1}})


def test_a_template_is_filled_in_once():
    """Each place gets its value; what a value says is not looked at again, and single braces are text."""
    template = PromptTemplate('{{ a }} {"x": {{b}}}', {"a": "{{b}}", "b": 2})
    assert template.render() == '{{b}} {"x": 2}'
    assert repr(template).startswith("PromptTemplate(")


def test_a_template_and_its_values_must_agree():
    """A missing and an unknown name are said when it is made."""
    assert "name" in refused("E0101", PromptTemplate, "Hello {{name}}").what
    assert "nmae" in refused("E0101", PromptTemplate, "Hello", {"nmae": "x"}).what
    refused("E0106", PromptTemplate, "{{a}}", {"a": None})
    refused("E0106", PromptTemplate, 1)
