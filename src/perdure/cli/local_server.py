"""A model file behind OpenAI's protocol on this machine: `python -m perdure.cli.local_server FILE --name NAME`.

llama.cpp's own server, in this process, on a free port of the loopback address. One thread computes: on few or busy
cores its threads wait for each other more than they help. With `--parent PID` it ends with the process that started
it, however that one ended.
"""

import argparse
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from perdure.cli.local_model import READY, SERVER

CONTEXT_TOKENS = 4096
_LOOK_S = 1.0


def serve(path: str, name: str) -> Any:
    """A server that listens. It stops when it is no longer referred to."""
    library: Any = importlib.import_module(SERVER)
    wanted = library.CommonParams()
    wanted.model.path = path
    wanted.model_alias = {name}
    wanted.n_ctx = CONTEXT_TOKENS
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.warmup = False
    wanted.offline = True
    wanted.ui = False
    wanted.port = 0
    return library.Server(wanted)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the parent process is gone; return an exit code."""
    parser = argparse.ArgumentParser(prog="perdure.cli.local_server", description=__doc__)
    parser.add_argument("path", help="the model's file, in GGUF")
    parser.add_argument("--name", default="local", help="what requests call it")
    parser.add_argument(
        "--parent", type=int, help="the process to end with; must be the one that starts this"
    )
    chosen = parser.parse_args(argv)
    server = serve(chosen.path, chosen.name)
    sys.stdout.write(f"{READY}{server.listening_address}/v1\n")
    sys.stdout.flush()
    never = threading.Event()
    while chosen.parent in {None, os.getppid()}:
        never.wait(_LOOK_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
