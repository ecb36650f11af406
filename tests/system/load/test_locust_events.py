"""Our imports change each thing in their process only once, even if modules are imported several
times.
"""

from __future__ import annotations

import sys

from tests import forked
from tests.simulator_process import ROOT

IMPORTED_TWICE = """
import os
import sys

forks, register_at_fork = [], os.register_at_fork
def count(**hooks):
    forks.append(hooks)
    register_at_fork(**hooks)
os.register_at_fork = count
def ours(hooks):
    return sum("tie_forks" in hook.__qualname__ for each in hooks for hook in each.values())

def changed():
    from locust import events
    from locust.argument_parser import get_parser
    from locust.rpc import rpc
    from locust.runners import MasterRunner
    listeners = [listener for name in vars(events) for listener in getattr(getattr(events, name), "_handlers", ())]
    get_parser(default_config_files=[])  # an option that is added twice is an error
    return [*listeners, sys.excepthook, rpc.Server.recv_from_client, MasterRunner.handle_message, ours(forks)]

import rtbench.locust_user
from bench.load.runners import locust_events
from rtbench.evaluation import EVALUATION
once = changed()
locust_events.register(EVALUATION)
assert changed() == once, "a second registration"
for name in [name for name in sys.modules if name == "rtbench" or name.startswith(("bench.load", "rtbench."))]:
    del sys.modules[name]
import rtbench.locust_user
import rtbench
rtbench.RealtimeUser
assert locust_events is not sys.modules["bench.load.runners.locust_events"]
assert changed() == once, "a second import"
assert once[-1] == 2, once[-1]  # before a fork and after it
"""


def test_a_second_import_or_registration_changes_nothing_in_the_process() -> None:
    ended = forked.run(
        [sys.executable, "-c", IMPORTED_TWICE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
