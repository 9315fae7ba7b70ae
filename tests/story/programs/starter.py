"""Runs an agent whose tool is in this process and takes a minute; it is killed before that."""

from perdure import run
from tests.story.programs.cast import carrier

if __name__ == "__main__":
    run(carrier(60), "Carry it")
