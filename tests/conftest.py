"""Settings of all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import forked

# Machines are shared: an example that takes long is no failure, nor is one that is long drawn. CI looks at the same
# examples every time, a developer at new ones, and `make test-all` at many. A property that needs more examples to find
# what it is for says so itself.
settings.register_profile("shared", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("shared"), derandomize=True)
settings.register_profile("all", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("EXAMPLES") or ("ci" if os.environ.get("CI") else "shared"))

# A shell starts what stands before an `&` with SIGINT ignored, and so would be what tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

forked.servers_folder()  # made here by the first process of a run, and used by its workers


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end, with all that is imported: nobody looks for garbage there."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result
