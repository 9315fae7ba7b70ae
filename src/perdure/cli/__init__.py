"""The command line: thin commands that parse, call the client and print.

`main` is the entry point. A command's module is imported only when the command is named, so that `perdure version`
does not pay for what `perdure demo` needs; `commands/` has one module per group, and the modules beside it hold what
they share: `text` (safe text), `view` and its renderers `render` and `plain`, `live` (following an execution),
`screen` (output formats), `exits` (exit codes).
"""

from perdure.cli.main import main

__all__ = ["main"]
