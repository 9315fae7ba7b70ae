"""Messages that an agent begins with, and a window on the conversation: the model is shown the last ones, and those of the
role system always.

Prints:
    shown: ['system', 'assistant', 'user']
    completed
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, ConversationMemory

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")

memory = ConversationMemory(max_messages=3)
memory.add_system_message("The customer's name is Ana.")
memory.add_user_message("Where is my order?")
memory.add_assistant_message("It is on its way.")
memory.add_user_message("When will it be here?")

support = Agent("support", MODEL, "Help the customer.", memory=memory)

if __name__ == "__main__":
    print(f"shown: {[message['role'] for message in memory.to_chat_messages()]}")
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(support, "Well?").status)
