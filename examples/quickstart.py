"""The quickstart: an agent with one tool, on the built-in mock model. No key, no network."""

from perdure import Agent, run, tool


@tool
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"It is sunny in {city}."


agent = Agent("guide", "mock/tools", "Help travellers.", [weather])

if __name__ == "__main__":
    print(run(agent, "What is the weather like?").output)
