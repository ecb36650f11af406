"""A run that cannot start ends with one line, which names a limit of this machine if that is the
cause.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from bench.base.errors import USAGE_STATUS, UsageError
from bench.load.runners import finalized_run
from bench.load.runners.role import start_problem
from bench.protocols.webrtc.dtls import own_identity
from bench.transport.links import opener_of
from bench.wire.service import WEBRTC, WEBRTC_AGENT, WEBRTC_SESSION, Link
from rtbench.cli import app


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread", "`ulimit -u`"),
        (
            pa.ArrowException("Failed to launch worker thread: Resource temporarily unavailable"),
            "thread",
            "`ulimit -u`",
        ),
        (MemoryError(), "Cannot allocate memory", "more memory"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files", "`ulimit -n`"),
        (
            ImportError("_rust.so: failed to map segment from shared object"),
            "Cannot allocate memory",
            "more memory",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "cannot write the run folder",
            "free disk space",
        ),
        (UsageError("the budget is spent"), "the budget is spent", ""),
    ],
)
def test_a_start_that_fails_ends_with_one_line(error: Exception, cause: str, remedy: str) -> None:
    line = start_problem(error)

    assert cause in line
    assert remedy in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error", [RuntimeError("generator raised StopIteration"), ImportError("no module"), KeyError()]
)
def test_a_bug_is_not_taken_for_a_limit_of_this_machine(error: Exception) -> None:
    with pytest.raises(type(error)):
        start_problem(error)


@pytest.mark.parametrize("link", [WEBRTC, WEBRTC_SESSION, WEBRTC_AGENT])
def test_a_call_over_webrtc_makes_no_certificate_that_was_not_made_before_the_load(
    link: Link,
) -> None:
    own_identity.cache_clear()
    opener_of(link)

    assert own_identity.cache_info().currsize == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "the command could not run: "),
        (RuntimeError("can't start new thread"), "the command could not run: "),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/turns.parquet"),
            "runs/a/turns.parquet cannot be written: No space left on device; free disk space, or"
            " use another folder\n",
        ),
        (
            OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left"),
            "a file cannot be written: No space left on device; free disk space, or use another"
            " folder\n",
        ),
        (
            OSError(errno.EROFS, os.strerror(errno.EROFS), "a"),
            "a cannot be written: Read-only file system; ",
        ),
    ],
)
def test_a_command_without_memory_threads_or_space_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    line: str,
) -> None:
    def fail(**_: object) -> int:
        raise error

    monkeypatch.setattr(app, "commands", lambda: fail)
    with pytest.raises(SystemExit) as end:
        app.main()

    printed = capsys.readouterr().err
    assert end.value.code == 2
    assert printed.startswith(f"rtbench: {line}")
    assert printed.count("\n") == 1


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "raise the limit of processes"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "no memory is left"),
        (OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC)), os.strerror(errno.ENOEXEC)),
    ],
)
def test_a_child_that_cannot_be_started_is_a_child_that_failed(
    monkeypatch: pytest.MonkeyPatch, error: OSError, cause: str
) -> None:
    monkeypatch.setattr(subprocess, "run", raising(error))
    ended = finalized_run.run_child(["report"], 1.0, "late")

    assert ended.returncode == USAGE_STATUS
    assert ended.stderr.startswith("no process could be started: ")
    assert cause in ended.stderr


def test_the_end_of_a_child_by_the_system_is_stated_even_if_it_printed_something() -> None:
    child = subprocess.CompletedProcess(["report"], -signal.SIGKILL, "", "half of a li")

    assert (
        finalized_run.child_problem(child, "the report could not be made")
        == "the report could not be made: SIGKILL ended its process, as the system or a library"
        " does if no memory is left"
    )
