"""Settings of the whole test suite."""

import os

from hypothesis import settings

# CI judges the change, not the draw: it runs the same examples every time. Elsewhere they vary.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
