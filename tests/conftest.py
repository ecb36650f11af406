"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# Machines are shared: a slow example is no failure. CI looks at the same examples every time, a developer at new ones.
settings.register_profile("shared", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "shared")

# A shell starts what stands before an `&` with SIGINT ignored, and so would be what tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
