"""The errors that this package raises on purpose, and the reference to a page that their messages
end with.

    RtbenchError
    ├── UsageError          a request that cannot be fulfilled, in one line; exit status 2
    │   └── ScriptError     the same, at a position of a file
    └── ConnectError        a session that could not be opened: an outcome of metrics.md
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol

INVALID_VALUE = "invalid_value"
INVALID_TYPE = "invalid_type"
"""The codes of refused values: a value that is not permitted, and one of another type. Services
use the same codes."""
PASS_STATUS: Final = 0
FAIL_STATUS: Final = 1
USAGE_STATUS: Final = 2
INCONCLUSIVE_STATUS: Final = 3
INVALID_STATUS: Final = 4
INTERRUPTED_STATUS: Final = 130
"""The exit statuses of all commands.

- PASS_STATUS: the request was fulfilled, or the verdict is a pass
- FAIL_STATUS: a turn, a check or a threshold failed, or a metric regressed
- USAGE_STATUS: the request cannot be fulfilled
- INCONCLUSIVE_STATUS: the data are too few for a verdict
- INVALID_STATUS: the values must not be used, or there are none
- INTERRUPTED_STATUS: a signal interrupted the run. Shells report 130 for SIGINT (128 + 2). SIGTERM
  has the same status, because both signals end a run in the same way
"""
OnInconclusive = Literal["fail", "pass", "warn"]
"""The effect of an inconclusive verdict on the exit status: INCONCLUSIVE_STATUS, PASS_STATUS, or
this with a warning.
"""


class RtbenchError(Exception):
    """The base of all errors that are raised on purpose. Its text is one line that a user can
    act on.
    """


class UsageError(RtbenchError):
    """An error that the user can fix; `others` were found at the same time. Commands print it,
    and exit with 2.
    """

    others: tuple[UsageError, ...] = ()


class ScriptError(UsageError):
    """An error in a file of the user, with the line and column (from 1; None if unknown), and
    what is wrong.
    """

    def __init__(
        self, path: Path, line: int | None, problem: str, column: int | None = None
    ) -> None:
        position = ":".join(str(value) for value in (path, line, column) if value is not None)
        super().__init__(f"{position}: {problem}")
        self.path = path
        self.line = line
        self.error_text = problem
        self.column = column


class Mistakes:
    """A collection of all errors of one file, so that the user sees all of them at once."""

    def __init__(self) -> None:
        self.errors: list[UsageError] = []

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Run the block and collect its UsageError, if it raises one. The block ends at this
        error.
        """
        try:
            yield
        except UsageError as error:
            self.add(error)

    def add(self, error: UsageError) -> None:
        self.errors += [error, *error.others]
        error.others = ()

    def refuse(self) -> None:
        """Raise the first collected error, with all other errors in its `others`. Return if
        there are no errors.
        """
        if self.errors:
            first, *others = self.errors
            first.others = tuple(others)
            raise first


def each_error(error: RtbenchError) -> list[RtbenchError]:
    """Return an error and the errors in its `others`, in the order of their positions in the
    file.
    """
    return sorted(
        [error, *(error.others if isinstance(error, UsageError) else ())],
        key=lambda each: (
            (each.line or 0, each.column or 0) if isinstance(each, ScriptError) else (0, 0)
        ),
    )


def see(page: str, section: str = "") -> str:
    """Return the command that prints a page of the documentation, or a section. Messages end
    with this command.
    """
    return f"`rtbench docs {page}{'#' if section else ''}{section}`"


class Closable(Protocol):
    """Something that must be closed."""

    def close(self) -> None:
        """Release it."""


@contextmanager
def closed_on_failure(resource: Closable) -> Iterator[None]:
    """Close a resource if the body of the `with` statement fails, also if the run ends meanwhile:
    there is no other reference to it yet.
    """
    try:
        yield
    except BaseException:
        resource.close()
        raise
