"""Reads what others wrote, JSON of a depth that can be walked through and files that end; writes files whole.

Services, endpoints of tokens, run folders that were copied from elsewhere and hands write JSON. A parser takes a
thousand levels, and whoever walks through the value then ends in a RecursionError; a named pipe or a device in place of
a file never ends.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bench.untrusted.sanitize import excerpt

DEEPEST = 64
"""Most levels of lists and objects within each other; ours have nine, tools of a service twenty."""
LARGEST_DOCUMENT = 64 << 20
"""Bytes of a document that is read as a whole: run.json of 10,000 incidents has 2 MB."""
WHOLE = range(-(2**63), 2**64)
"""The whole numbers that JSON of ours has, as those of scripts do."""
QUOTED = 200
_LONG_NUMBER = re.compile(r"\d{19}"), re.compile(rb"\d{19}")


class JsonError(ValueError):
    """A text that is no JSON, or none of the kind that is wanted; says what is wrong in a few words on one line."""


def read_json(
    data: bytes | str, kind: Any = Any, *, numbers: bool = True, made: Callable[[type, Any], Any] | None = None
) -> Any:
    """The value that JSON stands for, of a type as msgspec has it. Raises JsonError for any that cannot be taken.

    It is no deeper than DEEPEST. `numbers`: its whole numbers have 64 bits; what is only shown may have any. `made`:
    a value of a type that msgspec does not know.
    """
    try:
        value = msgspec.json.decode(data, type=kind, dec_hook=made)
        if _is_suspect(data, numbers=numbers):
            _check(msgspec.json.decode(data), numbers=numbers)
    except RecursionError:
        raise JsonError(_TOO_DEEP) from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise JsonError(excerpt(str(error), QUOTED)) from None
    return value


_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


def _is_suspect(data: bytes | str, *, numbers: bool) -> bool:
    """Whether a text can hold anything that `_check` refuses; hardly any does, so that most are read only once."""
    if isinstance(data, str):
        return data.count("[") + data.count("{") > DEEPEST or (numbers and bool(_LONG_NUMBER[0].search(data)))
    return data.count(b"[") + data.count(b"{") > DEEPEST or (numbers and bool(_LONG_NUMBER[1].search(data)))


def _check(value: Any, *, numbers: bool) -> None:
    """Raises JsonError, level by level: no recursion meets its own limit."""
    level, depth = [value], 0
    while level:
        if numbers and any(type(one) is int and one not in WHOLE for one in level):
            raise JsonError("it has a whole number that 64 bits do not hold")
        holders = [one for one in level if isinstance(one, dict | list)]
        depth += bool(holders)
        if depth > DEEPEST:
            raise JsonError(_TOO_DEEP)
        level = [part for one in holders for part in (one.values() if isinstance(one, dict) else one)]


def open_file(path: Path, *, follow_link: bool = True) -> BinaryIO:
    """Open a regular file to read, or a link to one if `follow_link`. Raises OSError for all else, at once."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_link else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return open(file, "rb")


def read_file(path: Path, most: int = LARGEST_DOCUMENT) -> bytes:
    """All of a regular file. Raises OSError as `open_file` does, and for one that has more than `most` bytes."""
    with open_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB", str(path))
    return data


class AppendFile:
    """A new file that grows by whole writes, or not at all. Raises FileExistsError where there is one already."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._good_bytes = 0

    def append(self, data: bytes) -> None:
        """Write all of the data. Raises OSError and leaves the file as it was where the disk takes no more."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # half a batch would hide all that is written behind it
            os.ftruncate(self._file, self._good_bytes)
            os.lseek(self._file, self._good_bytes, os.SEEK_SET)
            raise
        self._good_bytes += len(data)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def is_regular(path: Path) -> bool:
    """Return whether this is a regular file and no link: a link in a folder of others can lead to any file."""
    return stat.S_ISREG(path.lstat().st_mode)


def fresh_beside(path: Path) -> Path:
    """Return where to write a file before it replaces `path`; what is there is removed.

    It is what a killed process has left, or a link in a folder of others, which would lead what is written elsewhere.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    return fresh


def replace_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader sees the old one or the new one."""
    fresh = fresh_beside(path)
    fresh.write_text(text, encoding="utf-8", errors="backslashreplace")  # the name of a file may hold any bytes
    os.replace(fresh, path)
