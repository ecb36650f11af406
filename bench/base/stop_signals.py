"""The signals that end a run: by its user, by a service manager, and by the end of its terminal."""

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a run, which then makes its report.

    A hang-up is none if the process was started to outlive its terminal (`nohup`).
    """
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *(() if is_ignored else (signal.SIGHUP,)))
