"""The messages that a script adds to a conversation.

They come from a step, from a response's own input, or from a history file. Images are PNG or JPEG,
and are sent unchanged, as data URLs (RFC 2397). The cost of an image depends on its size in pixels,
so only this is read: from the first chunk of a PNG (ISO/IEC 15948, 11.2.2), or the frame header of
a JPEG (ITU-T T.81, B.2.2).
"""

import base64
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, get_args

from bench.base.errors import UsageError
from bench.files.safe_io import JsonError, read_json, read_named
from bench.files.validation import (
    Choice,
    Converted,
    Field,
    InvalidCombinationError,
    String,
    StructOf,
    Validator,
)
from bench.files.yaml_file import LocatedValue, PythonValue, read_text
from bench.wire.settings import Image, Message, MessageRole

T = TypeVar("T")
MAX_MESSAGES = 10_000
MAX_BYTES = 4 << 20
"""The maximum size of an image file. In base64 it is a third larger, and an event has at most 15
MiB."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
PNG = b"\x89PNG\r\n\x1a\n"
PNG_HEADER = slice(8, 16)
PNG_END = b"\x00\x00\x00\x00IEND"
FIRST_CHUNK = b"\x00\x00\x00\x0dIHDR"
JPEG = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers SOF0 to SOF15, which begin a frame, without three others in this range (T.81,
table B.1)."""
START_OF_SCAN = 0xDA
Size = tuple[int, int]
"""Width and height in pixels."""


def file_of(load: Callable[..., T]) -> Validator[T]:
    """Return a validator of the path of a file, relative to the file that names it. `load` reads
    the file.
    """

    def load_path(value: LocatedValue, path: str) -> T:
        if not path.isprintable():
            raise value.type_error("the path of a file")
        try:
            return load(value.folder / path)
        except UsageError as error:
            is_moved = Path(path).exists() and not (value.folder / path).exists()
            hint = "; paths are relative to the folder of this file" if is_moved else ""
            raise value.refuse(f"{error}{hint}") from None

    return Converted(String(), load_path)


# A script is read several times in a process (by validation, each target and each worker's plan),
# and a history may name the same image a thousand times. So content is kept by path, and only as
# long as the file has the same size and time.
class ReadOnce(Generic[T]):
    """A function that reads a file again only if its size or modification time has changed.

    The cache has one version of each of the `max_files` files that were used last, and no errors.
    """

    def __init__(self, load: Callable[[Path], T], max_files: int) -> None:
        self._load = load
        self._max_files = max_files
        self._cache: dict[Path, tuple[tuple[int, int], T]] = {}

    def __call__(self, path: Path) -> T:
        entry = self._cache.pop(path, None)
        try:
            status = path.stat()
        except (OSError, ValueError):  # `load` raises a better error
            return self._load(path)
        version = status.st_mtime_ns, status.st_size
        if entry is None or entry[0] != version:
            entry = version, self._load(path)
        self._cache[path] = entry
        if len(self._cache) > self._max_files:
            del self._cache[next(iter(self._cache))]
        return entry[1]

    def clear(self) -> None:
        """Forget all files, to free their memory."""
        self._cache.clear()


def load_image(path: Path) -> Image:
    """Read an image. Raise UsageError for a file that is missing, too large, truncated, or
    neither PNG nor JPEG.
    """
    data = read_named(path, IMAGE_SUFFIXES, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_BYTES >> 20} MiB; make the image smaller")
    if data.startswith(PNG):
        kind = "png"
        size = png_size(data)
        is_complete = PNG_END in data
    elif data.startswith(JPEG):
        kind = "jpeg"
        size = jpeg_size(data)
        is_complete = JPEG_END in data
    else:
        raise UsageError(f"{path}: is neither a PNG nor a JPEG image; services accept only these")
    if size is None or not is_complete:
        raise UsageError(f"{path}: is truncated or damaged")
    width, height = size
    url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Image(url=url, width=width, height=height, digest=hashlib.sha256(data).hexdigest())


def png_size(data: bytes) -> Size | None:
    """Return the width and height of a PNG; None if they are not in its first chunk."""
    if data[PNG_HEADER] != FIRST_CHUNK or len(data) < 24:
        return None
    return _positive(*struct.unpack_from(">II", data, 16))


def jpeg_size(data: bytes) -> Size | None:
    """Return the width and height of a JPEG; None if they are not in a frame header."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return _positive(width, height)
        elif marker == START_OF_SCAN:
            return None
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4]))
    return None


def _positive(width: int, height: int) -> Size | None:
    return (width, height) if width and height else None


@dataclass(frozen=True)
class History:
    """The messages before a session. `digest` is the SHA-256, in hex, over the file and the
    images that it names.
    """

    path: Path
    digest: str
    messages: tuple[Message, ...]


def _message(role: MessageRole, text: str, image: Image | None = None) -> Message:
    if image is not None and role != "user":
        raise InvalidCombinationError(
            "image", f"needs a message of the user, not of the role {role}"
        )
    return Message(role=role, text=text, image=image)


IMAGE = file_of(ReadOnce(load_image, max_files=32))
MESSAGE = StructOf(
    {
        "role": Field(Choice(get_args(MessageRole)), "The author of the message.", required=True),
        "text": Field(String(), "The text.", required=True),
        "image": Field(IMAGE, "A PNG or JPEG image with it. GA only."),
    },
    _message,
)


def load_history(path: Path) -> History:
    """Read a .jsonl file of messages, one with the keys of `MESSAGE` on each line that is not
    empty.

    Raise UsageError, with the line if there is one, for a file without messages or with anything
    else.
    """
    text = read_text(path, (".jsonl",))
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    messages = tuple(_read_line(path, number, line) for number, line in lines)
    if not messages:
        raise UsageError(f"{path}: has no message")
    if len(messages) > MAX_MESSAGES:
        raise UsageError(f"{path}: has {len(messages)} messages, the maximum is {MAX_MESSAGES}")
    images = (bytes.fromhex(message.image.digest) for message in messages if message.image)
    return History(path, hashlib.sha256(text.encode() + b"".join(images)).hexdigest(), messages)


def _read_line(path: Path, number: int, line: str) -> Message:
    try:
        return MESSAGE.read(PythonValue("the message", read_json(line), path.parent))
    except JsonError:
        raise UsageError(
            f'{path}:{number}: must be JSON, as in {{"role": "user", "text": "Hello"}}'
        ) from None
    except UsageError as error:
        raise UsageError(f"{path}:{number}: {error}") from None
