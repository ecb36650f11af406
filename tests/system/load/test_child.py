"""Children beside the sessions: whatever becomes of a signal, the wait for one has an end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.load.leading.looks import output_of
from tests.simulator_process import ROOT
from tests.system.end_to_end.locust_process import GUARD_S

ENDS_BEFORE_ANYBODY_LISTENS = """
import os
import gevent.os

def spawned(*words, spawn=gevent.os._raw_posix_spawn, **more):
    pid = spawn(*words, **more)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

gevent.os._raw_posix_spawn = spawned
"""


TAKEN_OVER = """
import signal
import gevent

gevent.get_hub().loop.install_sigchld()
gevent.spawn_later(0.2, signal.signal, signal.SIGCHLD, signal.SIG_DFL)
"""


WAITS = """
import sys
from bench.load.leading.looks import output_of

print(output_of([sys.executable, "-c", "import time; time.sleep(0.6); print('said')"]))
"""


@pytest.mark.parametrize("lost", [ENDS_BEFORE_ANYBODY_LISTENS, TAKEN_OVER])
def test_a_child_whose_signal_is_lost_is_heard_of_all_the_same(lost: str) -> None:
    command = [sys.executable, "-c", lost + WAITS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=GUARD_S)

    assert (ended.stdout, ended.stderr) == ("said\n\n", "")


def test_a_child_that_does_not_end_is_ended_with_what_it_has_started() -> None:
    with pytest.raises(OSError, match=r"longer than 0\.2 s"):
        output_of(["/bin/sh", "-c", "sleep 3600 & wait"], longest_s=0.2)
