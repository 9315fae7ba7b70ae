"""`crash_test` runs an agent again and again, and kills it at every commit of its journal and around every call of a tool. It
must come to the same end each time, and nothing may be done twice. `effects` is what the tools did to the world.

Prints:
    same outcome each time: True
    kills: more than 20
"""

from perdure import Agent, ToolContext, tool
from perdure.testing import MockModel, call, crash_test, text

payments: dict[str, int] = {}  # stands for a payment service that honours keys


@tool
def charge(cents: int, context: ToolContext) -> str:
    """Charge the customer's card."""
    payments.setdefault(context.idempotency_key, cents)
    return "charged"


cashier = Agent("cashier", MockModel([call("charge", cents=4000), text("Paid.")]), "Charge.", [charge])

if __name__ == "__main__":
    report = crash_test(cashier, "Charge 40 euros", effects=payments)
    print(f"same outcome each time: {report.result.output == 'Paid.' and report.effects == 1}")
    print(f"kills: {'more than 20' if len(report.points) > 20 else len(report.points)}")
