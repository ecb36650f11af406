"""Reads messages that a script puts into a conversation: of a step, of a response's own input, or of a history file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from bench.errors import UsageError
from bench.foreign import JsonError, read_json
from bench.plan.files import File
from bench.plan.images import load_image
from bench.protocol.messages import Image, Message, MessageRole
from bench.shapes import Choice, Field, Table, Text, UnfitError
from bench.yaml_file import PlainValue, read_text

MOST_MESSAGES = 10_000


@dataclass(frozen=True)
class History:
    """What was said before a session begins. `digest`: SHA-256 over the file and the images that it names, hex."""

    path: Path
    digest: str
    messages: tuple[Message, ...]


def _message(role: MessageRole, text: str, image: Image | None = None) -> Message:
    if image is not None and role != "user":
        raise UnfitError("image", f"goes with a message of the user's, not of the role {role}")
    return Message(role=role, text=text, image=image)


IMAGE = File[Image](load_image)
IMAGE_FIELD: dict[str, Field[Any]] = {"image": Field(IMAGE, "A PNG or JPEG that goes with it. GA only.")}
MESSAGE = Table(
    {
        "role": Field(Choice(get_args(MessageRole)), "Whose message it is.", required=True),
        "text": Field(Text(), "Its words.", required=True),
        **IMAGE_FIELD,
    },
    _message,
)


def load_history(path: Path) -> History:
    """Read a .jsonl file: a message a line, with the keys of `MESSAGE`. Empty lines are passed over.

    Raises UsageError, with file and line, for what is no message, and where there is none.
    """
    text = read_text(path)
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    messages = tuple(_read_line(path, number, line) for number, line in lines)
    if not messages:
        raise UsageError(f"{path}: has no message")
    if len(messages) > MOST_MESSAGES:
        raise UsageError(f"{path}: has {len(messages)} messages, at most {MOST_MESSAGES} are sent")
    images = (bytes.fromhex(message.image.digest) for message in messages if message.image)
    return History(path, hashlib.sha256(text.encode() + b"".join(images)).hexdigest(), messages)


def _read_line(path: Path, number: int, line: str) -> Message:
    try:
        return MESSAGE.read(PlainValue("the message", read_json(line), path.parent))
    except JsonError:
        raise UsageError(f'{path}:{number}: must be JSON, as in {{"role": "user", "text": "Hello"}}') from None
    except UsageError as error:
        raise UsageError(f"{path}:{number}: {error}") from None
