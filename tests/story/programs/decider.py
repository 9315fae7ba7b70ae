"""Process B of an approval: knows nothing but an execution's id and what to decide.

Arguments: the id, then `approve` or `reject`, then the options of that method as JSON. Prints what it met, as JSON.
"""

import json
import sys

from perdure import AgentHandle, PerdureError


def main(execution_id: str, verb: str, options: str) -> None:
    """Decide once."""
    handle = AgentHandle(execution_id)
    status = handle.get_status()
    facts = {"waiting": status.is_waiting, "status": status.status, "pending": status.pending_tool}
    try:
        getattr(handle, verb)(**json.loads(options))
    except PerdureError as error:
        facts["refused"] = error.code
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
