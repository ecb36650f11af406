"""Work that takes too long is abandoned, even while it waits."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from bench.transport.gevent_patch import with_timeout
from tests.simulator_process import GUARD_S, ROOT


def test_a_function_beyond_the_timeout_raises_a_timeout_error() -> None:
    ended = threading.Event()
    with pytest.raises(TimeoutError):
        with_timeout(0.05, lambda: ended.wait(GUARD_S))
    ended.set()


BROKEN_OFF = """
from gevent import monkey
monkey.patch_all()
import time
from bench.transport.gevent_patch import with_timeout

ended = []

def stubborn():
    try:
        try:
            time.sleep(60)
        except Exception:  # as libraries do that try again
            time.sleep(60)
    finally:
        ended.append("broken off")

try:
    with_timeout(0.05, stubborn)
except TimeoutError:
    ended.append("told")
assert ended == ["broken off", "told"], ended
"""


def test_in_a_gevent_process_a_timed_out_function_does_not_continue() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN_OFF],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD_S,
    )

    assert ended.returncode == 0, ended.stderr
