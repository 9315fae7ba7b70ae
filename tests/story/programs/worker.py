"""A worker: serves the agents that are named until it is stopped or killed."""

import logging
import sys

from perdure import serve
from tests.story.programs.cast import AGENTS

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    serve(*(AGENTS[name] for name in sys.argv[1:]))
