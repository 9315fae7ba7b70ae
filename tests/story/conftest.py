"""Stages for stories: with a server that runs, of the test's own or of the whole file."""

import pytest

from tests.story.stage import Stage


@pytest.fixture
def stage(tmp_path):
    """An empty stage with leases of a second; the story starts the server."""
    with Stage(tmp_path / "stage", lease_ms=1_000) as found:
        yield found


@pytest.fixture(scope="module")
def served_stage(tmp_path_factory):
    """A stage whose server runs and which the stories of a file share."""
    with Stage(tmp_path_factory.mktemp("stage"), lease_ms=1_000) as found:
        found.start_server()
        yield found
