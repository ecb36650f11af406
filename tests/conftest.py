"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

from tests import forked

# Machines are shared: a slow example is no failure. CI looks at the same examples every time, a developer at new ones,
# and `make test-all` at many. A property that needs more examples to find what it is for says so itself.
settings.register_profile("shared", deadline=None, max_examples=25)
settings.register_profile("ci", settings.get_profile("shared"), derandomize=True)
settings.register_profile("all", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("EXAMPLES") or ("ci" if os.environ.get("CI") else "shared"))

# A shell starts what stands before an `&` with SIGINT ignored, and so would be what tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

forked.servers_folder()  # made here by the first process of a run, and used by its workers
