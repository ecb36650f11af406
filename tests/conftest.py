"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Machines are shared: a slow example is no failure. CI looks at the same examples every time, a developer at new ones.
settings.register_profile("shared", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "shared")
