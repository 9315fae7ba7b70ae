"""Pictures and files beside the prompt: an address, a `Path` that is read now, or a part that is written out. They are kept
with the execution.

Prints:
    image/png from a file
    image/jpeg from https://example.com/cat.jpg
    answer: What is on these pictures?
"""

import base64
import os
import tempfile
from pathlib import Path

from perdure import Agent, AgentRuntime

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

viewer = Agent("viewer", MODEL, "Say what is on the pictures.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        picture = Path(folder) / "dot.png"
        picture.write_bytes(base64.b64decode(DOT))
        media: list[Path | str] = [picture, "https://example.com/cat.jpg"]
        result = runtime.run(viewer, "What is on these pictures?", media=media)
        for part in result.messages[0]["parts"]:
            if part["kind"] == "media":
                print(f"{part['media_type']} from {part.get('url') or 'a file'}")
        print(f"answer: {result.output}")
