"""The effects ledger: another process that writes down, durably, every time a tool took effect.

Run as `python ledger.py FILE`; prints the port it listens on. Each POST body (one JSON object) becomes one line of
FILE, fsynced before the answer. It knows nothing of Perdure, and is never killed by a test.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    """Serve until the parent goes away."""
    path = Path(sys.argv[1])
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            entry = json.loads(self.rfile.read(int(self.headers["content-length"])))
            entry["at_ms"] = time.time_ns() // 1_000_000
            with lock, path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.send_response(204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # ends when the parent closes its end, however the parent ends


if __name__ == "__main__":
    main()
