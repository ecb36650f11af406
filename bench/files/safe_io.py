"""Safe reading of JSON with limited depth and of regular files, and complete writing of files.

JSON comes from services, token endpoints, copied run folders and users. A parser accepts a thousand
levels, and code that walks through such a value fails with RecursionError. A named pipe or a device
in place of a file never ends.
"""

# Files that others wrote are read in two steps: a limit first, then the content. Files of ours are
# written so that no reader ever sees a half of them. A document is written next to its name and
# renamed. A stream of rows is appended to, and truncated again if a write fails in the middle.
# Nothing waits for the disk (fsync): a machine that loses its power loses the last seconds of a
# run, which is accepted.

import errno
import os
import re
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bench.base.errors import UsageError
from bench.base.suggestions import no_such_file
from bench.files.sanitize import excerpt

MAX_DEPTH = 64
"""The maximum depth of nested lists and objects. Our files have nine levels. The tools of a
service have twenty."""
MAX_DOCUMENT = 64 << 20
"""The maximum size of a document that is read at once, in bytes. A run.json with 10,000
incidents has 2 MB."""
WHOLE = range(-(2**63), 2**64)
"""The permitted range of integers in our JSON, and in scripts."""
QUOTED = 200
_LONG_NUMBER = re.compile(r"\d{19}"), re.compile(rb"\d{19}")
_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(rb"%s(?!%s)|(?<!%s)%s" % (_HIGH, _LOW, _HIGH, _LOW))
_SHORT_ESCAPE = re.compile(rb"\\u[0-9a-fA-F]{0,3}[^0-9a-fA-F]")


class JsonError(ValueError):
    """A text that is not JSON, or not of the required type. The message is a few words on one
    line.
    """


def read_json(
    data: bytes | str,
    kind: Any = Any,
    *,
    numbers: bool = True,
    make_value: Callable[[type, Any], Any] | None = None,
) -> Any:
    """Return the value of a JSON text, as the msgspec type `kind`.

    Raise JsonError if the text is invalid or has too many levels. If `numbers` is True, integers
    must fit into 64 bits. Set it to False for values that are only displayed. `make_value` makes
    values of types that msgspec does not know.
    """
    try:
        value = msgspec.json.decode(data, type=kind, dec_hook=make_value)
        if _is_suspect(data, numbers=numbers):
            _check(msgspec.json.decode(data), numbers=numbers)
    except RecursionError:
        raise JsonError(_TOO_DEEP) from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        text = data.encode("utf-8", "replace") if isinstance(data, str) else data
        if (whole := without_lone_surrogates(text)) != text:
            return read_json(whole, kind, numbers=numbers, make_value=make_value)
        raise JsonError(excerpt(json_problem(text, error), QUOTED)) from None
    return value


def without_lone_surrogates(text: bytes) -> bytes:
    """Return a JSON text in which U+FFFD replaces each escape of half a surrogate pair, with the
    same length.

    RFC 8259 §8.2 permits such escapes, and most parsers accept them. Services write them when they
    cut a text within a character. msgspec refuses them, even in parts that it skips.
    """
    if b"\0" in text:  # never valid in JSON; it is the placeholder below
        return text
    unescaped = text.replace(rb"\\", b"\0\0")  # an escaped backslash starts no other escape
    return _LONE_SURROGATE.sub(rb"\\ufffd", unescaped).replace(b"\0\0", rb"\\")


def readable_json(text: bytes) -> bytes:
    """Return a JSON text in which U+FFFD replaces invalid UTF-8 and lone surrogates."""
    return without_lone_surrogates(text.decode("utf-8", "replace").encode())


def json_problem(text: bytes, error: Exception) -> str:
    """Return why msgspec cannot read a JSON text. Two of its own reasons are untrue for some
    texts.
    """
    if isinstance(error, UnicodeDecodeError):  # the position in its text is not that in the message
        return f"invalid UTF-8: byte 0x{error.object[error.start]:02x}"
    if "truncated" in str(error) and _SHORT_ESCAPE.search(text.replace(rb"\\", b"")):
        return r"a \u escape does not have four hexadecimal digits"
    return str(error)


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


def _is_suspect(data: bytes | str, *, numbers: bool) -> bool:
    """Return whether `_check` might refuse a text. Such texts are rare, so most texts are parsed
    only once.
    """
    if isinstance(data, str):
        return data.count("[") + data.count("{") > MAX_DEPTH or (
            numbers and bool(_LONG_NUMBER[0].search(data))
        )
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH or (
        numbers and bool(_LONG_NUMBER[1].search(data))
    )


def _check(value: Any, *, numbers: bool) -> None:
    """Raise JsonError if a limit is exceeded. Go level by level, because Python limits
    recursion.
    """
    level = [value]
    depth = 0
    while level:
        if numbers and any(type(item) is int and item not in WHOLE for item in level):
            raise JsonError("it has an integer that does not fit into 64 bits")
        containers = [item for item in level if isinstance(item, dict | list)]
        depth += bool(containers)
        if depth > MAX_DEPTH:
            raise JsonError(_TOO_DEEP)
        level = [
            inner
            for item in containers
            for inner in (item.values() if isinstance(item, dict) else item)
        ]


def open_file(path: Path, *, follow_link: bool = True) -> BinaryIO:
    """Open a regular file, or a link to one if `follow_link` is True. Raise OSError at once for
    all else.
    """
    # O_NONBLOCK: the open of a named pipe without a writer would block
    file = os.open(
        path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_link else os.O_NOFOLLOW)
    )
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return open(file, "rb")


def read_file(path: Path, max_bytes: int = MAX_DOCUMENT) -> bytes:
    """Return the content of a regular file. Raise OSError, also if it has more than `max_bytes`
    bytes.
    """
    with open_file(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes >> 20} MiB", str(path))
    return data


def read_named(path: Path, suffixes: Collection[str], max_bytes: int = -1) -> bytes:
    """Return up to `max_bytes` bytes of a file that the user names. Raise UsageError if it
    cannot be read. `suffixes` are those of its kind.
    """
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except FileNotFoundError:
        raise UsageError(f"{path}: {no_such_file(path, suffixes)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"{path}: cannot be read ({error})") from None


class AppendFile:
    """A new file that gets each piece of data completely or not at all. Raises FileExistsError."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._good_bytes = 0

    def append(self, data: bytes) -> None:
        """Write all of the data. If the write fails, remove the part that was written, and raise
        OSError.
        """
        remaining = memoryview(data)
        try:
            while remaining:
                remaining = remaining[os.write(self._file, remaining) :]
        except OSError:
            # An incomplete batch would make all later data unreadable.
            os.ftruncate(self._file, self._good_bytes)
            os.lseek(self._file, self._good_bytes, os.SEEK_SET)
            raise
        self._good_bytes += len(data)

    def close(self) -> None:
        os.close(self._file)


def is_regular(path: Path) -> bool:
    """Return whether this is a regular file and not a link. In a folder from others, a link can
    lead to any file.
    """
    return stat.S_ISREG(path.lstat().st_mode)


def fresh_beside(path: Path) -> Path:
    """Return the path of a new file, which is written first and then replaces `path`.

    A file of a killed process, or a link in a folder from others, may have this path: remove it.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    return fresh


def replace_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader gets either the old content or the new
    content, complete.
    """
    replace_bytes(path, text.encode(errors="backslashreplace"))  # a file name may have any bytes


def replace_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step, as `replace_text` does."""
    fresh = fresh_beside(path)
    fresh.write_bytes(data)
    os.replace(fresh, path)


def save_text(path: Path, text: str) -> None:
    """Replace a file as `replace_text` does, and make its folder if there is none. Raise
    UsageError if it fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
