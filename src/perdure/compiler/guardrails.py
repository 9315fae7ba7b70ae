"""Guardrails of a definition, checked: a guardrail that could not be judged is refused before anything begins."""

from perdure.agents.checks import MAX_COUNT, MAX_RETRIES, check_name, check_number
from perdure.core.definition import GuardrailDefinition
from perdure.core.errors import DefinitionError
from perdure.core.model_name import parse_model
from perdure.core.patterns import check_pattern

MAX_GUARDRAILS = 64


def checked_guards(guards: tuple[GuardrailDefinition, ...], where: str) -> tuple[GuardrailDefinition, ...]:
    """The guardrails, each of which can be judged.

    Raises:
        DefinitionError: E0101 a pattern; E0103 two of one name; E0104 a name; E0106 an option; E0107 a model.
    """
    if len(guards) > MAX_GUARDRAILS:
        raise DefinitionError("E0106", f"There are over {MAX_GUARDRAILS} guardrails", where=where)
    names: set[str] = set()
    for guard in guards:
        check_name(guard.name, "guardrail", where)
        place = f"{where}, guardrail {guard.name!r}"
        if guard.name in names:
            raise DefinitionError("E0103", f"Two guardrails have the name {guard.name!r}", where=where)
        names.add(guard.name)
        check_number("max_retries", guard.max_retries, 0, MAX_RETRIES, where=place)
        _check_kind(guard, place)
    return guards


def _check_kind(guard: GuardrailDefinition, place: str) -> None:
    if (guard.kind == "regex") != bool(guard.patterns):
        raise DefinitionError(
            "E0106", "A guardrail of the kind regex has patterns, and no other has", where=place
        )
    for pattern in guard.patterns:
        check_pattern(pattern, place)
    if guard.kind == "llm":
        parse_model(guard.model, guard.base_url)
        if not guard.policy.strip():
            raise DefinitionError("E0106", "A guardrail of the kind llm needs a policy", where=place)
        if guard.max_tokens is not None:
            check_number("max_tokens", guard.max_tokens, 1, MAX_COUNT, where=place)
