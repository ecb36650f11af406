"""History files, images, and the messages that a script adds to a conversation."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.plan.conversation import (
    JPEG,
    MAX_BYTES,
    PNG,
    ReadOnce,
    jpeg_size,
    load_history,
    load_image,
    png_size,
)
from bench.wire.settings import Message
from tests.helpers import build_message, png

T = TypeVar("T")
SIDES = st.integers(1, 65_535)


def jpeg(width: int, height: int, *segments: bytes, fill: int = 0) -> bytes:
    """Return a file that has only the first and the last parts of a JPEG.

    `segments` are placed before its frame header.
    """
    size = height.to_bytes(2) + width.to_bytes(2)
    others = b"".join(
        b"\xff\xe0" + (len(segment) + 2).to_bytes(2) + segment for segment in segments
    )
    return (
        b"\xff\xd8"
        + others
        + b"\xff" * fill
        + b"\xff\xc0\x00\x0b\x08"
        + size
        + b"\x01\x01\x11\x00\xff\xd9"
    )


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refused(load: Callable[[Path], T], path: Path) -> tuple[str, None] | tuple[None, T]:
    """Load a file. Return (error, None) if it is refused; otherwise return (None, content)."""
    try:
        return None, load(path)
    except UsageError as error:
        return str(error), None


# Images.


@given(SIDES, SIDES)
def test_the_size_of_a_png_is_read(width: int, height: int) -> None:
    assert png_size(png(width, height)) == (width, height)


@given(SIDES, SIDES, st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(0, 3))
def test_the_size_of_a_jpeg_is_read_after_other_segments(
    width: int, height: int, segments: list[bytes], fill: int
) -> None:
    assert jpeg_size(jpeg(width, height, *segments, fill=fill)) == (width, height)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", PNG, JPEG, PNG + b"\0\0\0\rIHDR", JPEG + b"\xe0\0\4ab\xff\xc0"]),
)
def test_any_file_is_an_image_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, rest: bytes, head: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("image") / "a.png", head + rest)
    refusal, image = refused(load_image, path)

    assert refusal is None or re.fullmatch(f"{re.escape(str(path))}: is .+", refusal)
    assert image is None or image.width > 0 < image.height


@pytest.mark.parametrize(
    ("kind", "data"), [("png", png(640, 480)), ("jpeg", jpeg(640, 480, b"JFIF"))]
)
def test_an_image_becomes_a_data_url_with_the_contents_of_its_file(
    kind: str, data: bytes, tmp_path: Path
) -> None:
    image = load_image(write(tmp_path / "photo", data))

    head, _, encoded = image.url.partition(",")
    assert head == f"data:image/{kind};base64"
    assert base64.b64decode(encoded) == data
    assert (image.width, image.height, image.digest) == (640, 480, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a", "is neither a PNG nor a JPEG"),
        (png(4, 4)[:-12], "is truncated or damaged"),
        (png(4, 0), "is truncated or damaged"),
        (jpeg(4, 4)[:-2], "is truncated or damaged"),
        (bytes(MAX_BYTES + 1), "is larger than 4 MiB"),
    ],
)
def test_an_image_that_services_do_not_accept_is_refused(
    data: bytes, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        load_image(write(tmp_path / "photo.png", data))


def test_a_deleted_file_is_not_served_from_the_cache(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", png(1, 2))
    load = ReadOnce(load_image, max_files=2)
    load(path)
    path.unlink()

    with pytest.raises(UsageError, match="no such file"):
        load(path)


def test_the_cache_keeps_the_most_recently_used_files(tmp_path: Path) -> None:
    a, b, c = (write(tmp_path / f"{name}.png", png(1, 2)) for name in "abc")
    reads: list[Path] = []

    def noted(path: Path) -> Path:
        reads.append(path)
        return path

    load = ReadOnce(noted, max_files=2)
    for path in (a, b, a, c, a, b):
        assert load(path) == path

    assert reads == [a, b, c, b]


# Histories.

MESSAGES = st.lists(
    st.builds(
        build_message,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
            str.strip
        ),
        st.sampled_from(["system", "assistant", "user"]),
    ),
    min_size=1,
    max_size=6,
)


def written(messages: list[Message], folder: Path) -> Path:
    lines = [json.dumps({"role": message.role, "text": message.text}) for message in messages]
    return write(folder / "history.jsonl", "\n\n".join(lines).encode())


@given(messages=MESSAGES)
def test_a_history_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Message]
) -> None:
    assert (
        list(load_history(written(messages, tmp_path_factory.mktemp("history"))).messages)
        == messages
    )


KEYS = st.sampled_from(["role", "text", "image", "roles"])
JSON: st.SearchStrategy[Any] = (
    st.none() | st.integers() | st.sampled_from(["user", "system", "Hello", "", "a.png"])
)
LINES = st.one_of(
    st.text(max_size=20),
    (JSON | st.lists(JSON, max_size=2) | st.dictionaries(KEYS, JSON, max_size=3)).map(json.dumps),
)


@given(lines=st.lists(LINES, max_size=4))
def test_any_history_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = write(
        tmp_path_factory.mktemp("history") / "h.jsonl",
        "\n".join(lines).encode("utf-8", "surrogatepass"),
    )
    refusal, history = refused(load_history, path)

    assert refusal is None or re.fullmatch(f"{re.escape(str(path))}:.+", refusal)
    assert history is None or all(message.text.strip() for message in history.messages)


def test_a_history_without_a_message_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no message"):
        load_history(write(tmp_path / "h.jsonl", b"\n\n"))
