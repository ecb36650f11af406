"""The process of `rtbench run`: `python -m rtbench.run_process FILE… OPTIONS`.

It ends with one line, also while modules are imported. `rtbench run` starts it with blocked
signals, because a signal during the start of Python would print a traceback.
"""

import signal
import sys

from bench.base.errors import INTERRUPTED_STATUS, USAGE_STATUS
from bench.base.memory import RUN_BYTES, prepare, require
from bench.base.standard_streams import print_notice
from bench.base.stop_signals import stop_signals


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
