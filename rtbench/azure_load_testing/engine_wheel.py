"""The wheel that engines install: the same files, without the packages that only reports need.

`pip` installs what the metadata of a wheel requires, and has no option in a requirements file to
omit one of them.
"""

import base64
import hashlib
import io
import re
import zipfile
import zlib
from pathlib import Path

from bench.base.errors import UsageError
from bench.base.installation import REPORT_PACKAGES

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    UnicodeError,
)
"""The errors of zipfile for damaged archives, and for those that are encrypted or compressed in
another way."""
REQUIRES = re.compile(r"Requires-Dist: ([A-Za-z0-9._-]+)")


def engine_wheel(path: Path) -> bytes:
    """Return a wheel that does not require REPORT_PACKAGES. Raise UsageError if the file is no
    wheel of rtbench.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            contents = {entry: wheel.read(entry) for entry in wheel.infolist()}
    except (OSError, *DAMAGED) as error:
        raise UsageError(
            f"--wheel {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    names = {entry.filename: entry for entry in contents}
    metadata = next(
        (name for name in names if re.fullmatch(r"rtbench-[^/]+\.dist-info/METADATA", name)), ""
    )
    record = metadata.replace("METADATA", "RECORD")
    is_whole = (
        record in names and len(names) == len(contents) and not any(map(_leaves_folder, names))
    )
    try:
        if not is_whole or path.suffix != ".whl":
            raise ValueError
        contents[names[metadata]] = _without_reports(contents[names[metadata]])
        contents[names[record]] = _with_digest(
            contents[names[record]], metadata, contents[names[metadata]]
        )
    except ValueError:  # also text that is not UTF-8
        problem = (
            "is not a wheel of rtbench, or is damaged: `make dist` in a checkout writes one to dist"
        )
        raise UsageError(f"--wheel {path} {problem}") from None
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as wheel:
        for entry, content in contents.items():
            wheel.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _leaves_folder(name: str) -> bool:
    """Return whether the name of an entry is a path outside of the folder into which a wheel is
    unpacked.
    """
    return name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/")


def _without_reports(metadata: bytes) -> bytes:
    lines = metadata.decode().splitlines(keepends=True)
    needed = (
        line
        for line in lines
        if not ((found := REQUIRES.match(line)) and found[1].lower() in REPORT_PACKAGES)
    )
    return "".join(needed).encode()


def _with_digest(record: bytes, name: str, content: bytes) -> bytes:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    lines = [line for line in record.decode().splitlines() if not line.startswith(f"{name},")]
    return ("\n".join([f"{name},sha256={digest},{len(content)}", *lines]) + "\n").encode()
