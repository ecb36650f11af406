"""Checks of which files, folders and runs exist, and whether the process that writes a run is
alive.

If the system does not permit a check, the check raises an error, because the file may exist. The
writer of a run holds a lock until it ends, because a PID does not show whether it is alive: a later
process or container may have the same one.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from bench.base.errors import UsageError

FOLDER = Path("runs")
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""The error numbers that mean that a file does not exist. After any other error, such as EACCES,
the file may exist."""


def file_status(path: Path) -> os.stat_result | None:
    """Return the status of a file; None if it does not exist. Raise UsageError if that cannot be
    determined.
    """
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; check the permissions of its folder, or name"
            " another run"
        ) from None


def runs_folder() -> Path:
    """Return the folder of the runs: LOCUST_RUNS_DIR, or `runs`."""
    return Path(os.environ.get("LOCUST_RUNS_DIR") or FOLDER)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder. Raise UsageError if that cannot be determined."""
    status = file_status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def is_run(folder: Path) -> bool:
    """Return whether a folder has a run.json. Raise UsageError if that cannot be determined."""
    return file_status(folder / "run.json") is not None


WRITTEN_BY = {
    "capacity.html": "capacity",
    "levels": "capacity",  # the runs of a search; a search that was killed has no page
    "compare.html": "compare",
    "reference.html": "reference",
    "trend.html": "trend",
    "calibration*.html": "calibrate",
}
"""The commands that write folders or pages that are no runs, by the names of their files."""


def page_of(folder: Path) -> Path | None:
    """Return the page of a folder that is no run; None if there is none."""
    if not is_folder(folder) or is_run(folder):
        return None
    pages = (
        page for name in WRITTEN_BY for page in sorted(folder.glob(name)) if page.suffix == ".html"
    )
    return next(pages, None)


def written_by(folder: Path) -> str | None:
    """Return the command that wrote a folder that is no run; None if no command of this tool
    wrote it.
    """
    if not is_folder(folder):
        return None
    return next((command for name, command in WRITTEN_BY.items() if any(folder.glob(name))), None)


def not_a_run(folder: Path) -> str:
    """Return the text that a folder is not a run, with the command that wrote it and the command
    that shows it.
    """
    text = f"{folder} is not a run folder: it has no run.json"
    if (writer := written_by(folder)) is None:
        has_runs = is_folder(folder) and bool(run_folders(folder))
        return (
            f"{text}, but it contains runs, which `rtbench runs {folder}` lists"
            if has_runs
            else text
        )
    page = page_of(folder)
    shown = (
        f"{page.name}, which `rtbench report --open {folder}` opens"
        if page
        else "levels; name one of its runs"
    )
    return f"{text}; `rtbench {writer}` wrote its {shown}"


def run_folders(folder: Path) -> list[Path]:
    """Return the folders in `folder` that are or may be runs. Raise UsageError if `folder`
    cannot be read.
    """
    try:
        return [path for path in folder.iterdir() if _may_be_run(path)]
    except OSError as error:
        raise UsageError(
            f"there are no runs in {folder} ({error.strerror}): make one (`rtbench quickstart`), or"
            " name a run or the folder of runs"
        ) from None


def _may_be_run(folder: Path) -> bool:
    try:
        return is_run(folder)
    except UsageError:
        return True


CLOSES = "RTBENCH_CLOSES"
"""The environment variable of a child process that may close the run of its parent: the folder
of this run."""


# A lock of flock(2) belongs to the open file. `hold` leaves its file open on purpose: the kernel
# closes it when the process ends, however it ends. A reader tries a shared lock, so that two
# readers do not take each other for the writer.
def hold(folder: Path) -> None:
    """Acquire the lock of a run's folder until this process ends. Do nothing on a file system
    without locks.
    """
    file = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def permission_to_close(folder: Path) -> dict[str, str]:
    """Return the environment variable by which the writer of a run lets a child process close
    it.
    """
    return {CLOSES: str(folder.resolve())}


def may_close(folder: Path) -> bool:
    """Return whether the writer of a run lets this process close it."""
    return os.environ.get(CLOSES) == str(folder.resolve())


def is_held(folder: Path) -> bool | None:
    """Return whether a process holds the lock of a run's folder.

    Return None if that is unknown, because the file system has no locks, or because this user may
    not open the folder.
    """
    try:
        file = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return None
    try:
        return is_taken(file)
    finally:
        os.close(file)


def is_taken(file: int) -> bool | None:
    """Return whether another process holds the lock of an open folder; None if its file system
    has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
