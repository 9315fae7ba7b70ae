"""What all tests share: the settings of hypothesis, and nothing else. Fixtures live beside the tests they serve."""

import os

from hypothesis import settings

# A failure prints its seed; in CI the seeds are fixed, so that a red run says something about the change in it.
# No deadline: the machines that run this are shared, and a slow moment is not a defect.
settings.register_profile("local", deadline=None, print_blob=True, database=None)
settings.register_profile("ci", deadline=None, print_blob=True, database=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
