"""The process of `rtbench run`: `python -m rtbench.run_process FILE… OPTIONS`.

It ends with one line, also while modules are imported. `rtbench run` starts it with blocked
signals, because a signal during the start of Python would print a traceback.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from bench.base.errors import INTERRUPTED_STATUS, USAGE_STATUS
from bench.base.installation import child_environment, python_command
from bench.base.memory import RUN_BYTES, prepare, require
from bench.base.standard_streams import print_notice
from bench.base.stop_signals import stop_signals

HELP_OPTIONS = frozenset(("-h", "--help"))
ALL_OPTIONS = "--help-all"
"""The words with which `rtbench run` prints options, and runs nothing."""


def is_run(words: Sequence[str]) -> bool:
    """Return whether the words of a command line are those of a run, which the process of the run
    reads.
    """
    return (
        words[:1] == ["run"]
        and {*HELP_OPTIONS, ALL_OPTIONS}.isdisjoint(words)
        and not names_no_file(words[1:])
    )


def names_no_file(words: Sequence[str]) -> bool:
    """Return whether the words after `run` certainly contain no file, and nothing that Locust's
    parser answers: its version, or a wrong value of an option.
    """
    return all(word.startswith("-") and "=" not in word for word in words) and not (
        {"-V", "--version"} & {*words}
    )


def become_run(words: Sequence[str], **variables: str) -> NoReturn:
    """Replace this process by that of a run with these words, and variables in addition to the
    environment.
    """
    sys.stdout.flush()
    command = python_command("rtbench.run_process", *words)
    # until it handles them
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    os.execve(command[0], command, child_environment(os.environ, captured=False) | variables)


def interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt in the main greenlet, not in the greenlet of Locust that runs when
    the signal comes.
    """
    hub = sys.modules["gevent"].get_hub() if "gevent" in sys.modules else None
    if hub is None or sys.modules["greenlet"].getcurrent() in (hub, hub.parent):
        raise KeyboardInterrupt
    hub.handle_system_error(KeyboardInterrupt, KeyboardInterrupt())


if __name__ == "__main__":
    try:
        prepare()
        for number in stop_signals():
            signal.signal(number, interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals())
        require(RUN_BYTES)
        from bench.transport.gevent_patch import patch_all

        patch_all()
        from bench.load.run_files import run_files
        from rtbench.evaluation import EVALUATION

        run_files(EVALUATION)
    except KeyboardInterrupt:
        print_notice("interrupted before the run started")
        sys.exit(INTERRUPTED_STATUS)
    except Exception as error:
        from bench.transport.own_limits import limit_text

        if (limit := limit_text(error, "the run could not start")) is None:
            raise
        print_notice(limit)
        sys.exit(USAGE_STATUS)
