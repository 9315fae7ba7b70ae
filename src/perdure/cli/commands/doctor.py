"""`perdure doctor`: what stands in the way, and what to do about it."""

import asyncio

import typer

from perdure.cli import exits, text
from perdure.cli.checks import CHECKS, Finding
from perdure.cli.options import FormatOption, Invocation, command_group, examples, invocation

app = command_group()
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@app.command("doctor", epilog=examples("perdure doctor", "perdure doctor -o json"))
def doctor(ctx: typer.Context, output: FormatOption = None) -> None:
    """Look at Python, storage, server, keys and models; say what is wrong and how to mend it.

    Exit code 1 when something fails, 0 otherwise, warnings included.
    """
    call = invocation(ctx, output)
    found = asyncio.run(_look(call))
    if call.screen.for_people:
        _print(call, found)
    else:
        call.screen.rows(found)
    raise typer.Exit(exits.FAILED if any(f.level == "fail" for f in found) else exits.OK)


async def _look(call: Invocation) -> list[Finding]:
    return [finding for check in CHECKS for finding in await check(call)]


def _print(call: Invocation, found: list[Finding]) -> None:
    from rich.text import Text

    width = max(len(f.name) for f in found)
    for finding in found:
        row = Text(f"{finding.level:<5}", _STYLES[finding.level])
        row.append(f"{text.line(finding.name):<{width}}  {text.line(finding.words)}", "default")
        call.screen.lines([row])
        if finding.fix:
            call.screen.lines([Text(f"{'':<{5 + width}}  fix: {text.block(finding.fix)}", "default")])
