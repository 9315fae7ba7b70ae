"""From a definition to a plan: names resolved, everything validated. Pure, and the only compiler there is.

`decode_definition` reads what crossed the wire, `compile_definition` checks it and lowers it, `plan_hash` names the
plan for ever. A definition may come from any client, so nothing that the SDK checks is taken on trust.
"""

from perdure.compiler.compile import compile_definition, plan_hash
from perdure.compiler.decode import decode_definition

__all__ = ["compile_definition", "decode_definition", "plan_hash"]
