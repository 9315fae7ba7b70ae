"""Answering approvals in the terminal: the question whole, then one key.

What is approved is what was shown: the decision carries the hash of the question, and a key that was pressed before
the question appeared is dropped. One question at a time.
"""

import asyncio
import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.text import Text

from perdure.cli import render, text
from perdure.cli.keys import Keyboard
from perdure.cli.nodes import Approval, Node
from perdure.cli.options import Invocation
from perdure.client.api import ApiClient
from perdure.core.errors import PerdureError, ToolError
from perdure.wire.types import DecisionBody

_KEYS = {
    "call": "a approve   e edit the arguments",
    "guardrail": "a let it pass   e put something in its place",
    "budget": "a allow as much again",
    "question": "a answer",
    "pick": "a answer",
}
INLINE_LIMIT = 2_000  # a terminal takes no longer line in its own editing mode
CHANNEL = "cli"


class Area(Protocol):
    """The part of the screen that is redrawn, which steps aside while a person types."""

    def start(self, refresh: bool = False) -> None:  # noqa: FBT001, FBT002 - rich's signature
        """Draw again."""

    def stop(self) -> None:
        """Stop drawing."""


class Asked(Protocol):
    """What may hold open questions: the view of an execution, or of all below it too."""

    @property
    def execution_id(self) -> str:
        """The id by which a person decides."""

    @property
    def approvals(self) -> list[Node]:
        """The steps that wait for a person."""


class Desk:
    """Asks the open questions of an execution, one after the other."""

    def __init__(
        self,
        call: Invocation,
        api: ApiClient,
        view: Asked,
        keyboard: Keyboard | None,
        area: Area,
        *,
        postpone: bool = True,
    ) -> None:
        self._postpone = postpone
        self._call, self._api, self._view, self._keyboard, self._area = call, api, view, keyboard, area
        self._asked: str | None = None
        self._put_off: set[str] = set()
        self._remark = ""

    def hint(self) -> Text | None:
        """What a person can press now."""
        found = self._open()
        if found is None:
            return None
        asks = found[1].asks
        if self._keyboard is None:
            return Text(f"decide with: perdure {verb_of(asks)} {self._view.execution_id}", "yellow")
        later = "   l later" if self._postpone else ""
        keys = Text(f"{_KEYS[asks]}   r reject{later}", "bold yellow")
        return Text(self._remark + "\n", "red").append_text(keys) if self._remark else keys

    async def attend(self) -> None:
        """Show a new question; act on a key."""
        found = self._open()
        if found is None or self._keyboard is None:
            return
        node, approval = found
        if self._asked != approval.approval_id:
            self._asked, self._remark = approval.approval_id, ""
            for row in render.question(node, approval):
                self._call.screen.out.print(row, soft_wrap=True)
            self._keyboard.forget()
            return
        match self._keyboard.take().lower():
            case "a" if approval.asks in {"question", "pick"}:
                await self._answer(approval)
            case "a":
                await self._decide(approval, DecisionBody("approved", approval.effect_hash, channel=CHANNEL))
            case "e" if approval.asks == "call":
                await self._edit(approval)
            case "e" if approval.asks == "guardrail":
                await self._put_in_place(approval)
            case "r":
                await self._reject(approval)
            case "l" if self._postpone:
                self._put_off.add(approval.approval_id)

    def _open(self) -> tuple[Node, Approval] | None:
        for node in self._view.approvals:
            approval = node.open_approval
            if approval is not None and approval.approval_id not in self._put_off:
                return node, approval
        return None

    async def _decide(self, approval: Approval, body: DecisionBody) -> None:
        try:
            await self._api.decide(approval.approval_id, body)
        except PerdureError as error:
            self._remark = text.line(f"[{error.code}] {error.what}" + (f": {error.why}" if error.why else ""))
        else:
            # The stream brings the decision; until then the question must not be asked again.
            self._put_off.add(approval.approval_id)
            self._remark = ""

    async def _reject(self, approval: Approval) -> None:
        reason = await self._ask("Reason (the agent sees it): ")
        if reason is not None:
            body = DecisionBody("rejected", approval.effect_hash, reason=reason.strip(), channel=CHANNEL)
            await self._decide(approval, body)

    async def _answer(self, approval: Approval) -> None:
        typed = await self._ask("Answer (a text, or JSON): ")
        if typed is None or not typed.strip():
            self._remark = "Nothing was decided."
            return
        answer = parse_answer(typed, approval.answer_schema)
        await self._decide(
            approval, DecisionBody("approved", approval.effect_hash, channel=CHANNEL, answer=answer)
        )

    async def _put_in_place(self, approval: Approval) -> None:
        typed = await self._ask("In its place (a text, or JSON): ")
        if typed is None or not typed.strip():
            self._remark = "Nothing was decided."
            return
        answer = {"content": parse_answer(typed, None)}
        await self._decide(
            approval, DecisionBody("approved", approval.effect_hash, channel=CHANNEL, answer=answer)
        )

    async def _edit(self, approval: Approval) -> None:
        editor = self._call.environ.get("VISUAL") or self._call.environ.get("EDITOR")
        written = json.dumps(approval.arguments, ensure_ascii=False, indent=2 if editor else None)
        if editor:
            typed = await self._in_editor(editor, written)
        elif len(written) > INLINE_LIMIT:
            self._remark = (
                "The arguments are too long for one line: set EDITOR, or use `perdure approve --arguments`."
            )
            return
        else:
            typed = await self._ask(f"Now:  {text.line(written)}\nJSON: ")
        if typed is None or not typed.strip():
            self._remark = "Nothing was decided."
            return
        try:
            arguments = parse_arguments(typed)
        except PerdureError as error:
            self._remark = f"{error.what}: {text.line(error.why)}. Nothing was decided."
            return
        await self._decide(
            approval, DecisionBody("approved", approval.effect_hash, arguments=arguments, channel=CHANNEL)
        )

    async def _ask(self, prompt: str) -> str | None:
        if self._keyboard is None:
            return None
        stdout = self._call.screen.stdout

        def show() -> None:
            stdout.write(prompt)
            stdout.flush()

        self._area.stop()
        try:
            return await self._keyboard.line(show)
        finally:
            self._area.start(refresh=True)

    async def _in_editor(self, editor: str, written: str) -> str | None:
        if self._keyboard is None:
            return None
        handle, name = tempfile.mkstemp(prefix="perdure-", suffix=".json")
        path = Path(name)
        self._area.stop()
        self._keyboard.cooked()
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(written + "\n")
            process = await asyncio.create_subprocess_exec(*shlex.split(editor), name)
            if await process.wait() != 0:
                return None
            return _read(path)
        except OSError as error:
            self._remark = f"The editor cannot be started: {text.line(str(error))}"
            return None
        finally:
            _remove(path)
            self._keyboard.raw()
            self._area.start(refresh=True)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def verb_of(asks: str) -> str:
    """The command that decides about an approval of this kind."""
    return "respond" if asks in {"question", "pick"} else "approve"


def parse_answer(typed: str, schema: Mapping[str, Any] | None) -> Any:
    """What was typed: JSON if it is JSON, else the text; a text becomes the one field that *schema* asks for.

    Whether it fits is the server's to say.
    """
    try:
        value = json.loads(typed)
    except ValueError:
        value = typed.strip()
    known = schema or {}
    fields = known.get("required") or []
    if known.get("type") == "object" and not isinstance(value, dict) and len(fields) == 1:
        wanted = known.get("properties", {}).get(fields[0], {})
        is_text = wanted.get("type") == "string" or "enum" in wanted
        return {fields[0]: typed.strip() if is_text else value}
    return typed.strip() if known.get("type") == "string" and not isinstance(value, str) else value


def parse_arguments(typed: str) -> dict[str, Any]:
    """Edited arguments.

    Raises:
        ToolError: E0305 it is not a JSON object.
    """
    try:
        value = json.loads(typed)
    except ValueError as error:
        raise ToolError(
            "E0305", "The arguments are not JSON", why=str(error), fix='Write an object, e.g. {"amount": 40}.'
        ) from error
    if not isinstance(value, dict):
        raise ToolError(
            "E0305", "The arguments are not a JSON object", fix='Write an object, e.g. {"amount": 40}.'
        )
    return value
