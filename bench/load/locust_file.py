"""The scripts of a Locust file, without a run."""

from pathlib import Path

from locust.util.load_locustfile import load_locustfile

from bench.base.errors import RtbenchError, UsageError
from bench.load.planning.workload import load_scripts
from bench.plan.script import Script


def locust_file_scripts(path: Path) -> list[Script]:
    """Import a Locust file, and return the scripts of its users' tasks. Tasks in Python are
    rehearsed.

    Raise UsageError if the file cannot be imported, has no user, or has an invalid script.
    """
    try:
        user_classes, _ = load_locustfile(str(path.resolve()))
    except RtbenchError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not user_classes:
        raise UsageError(f"{path} has no RealtimeUser")
    return list(load_scripts(user_classes.values()).values())
