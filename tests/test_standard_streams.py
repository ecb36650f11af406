"""The signs of our texts in encodings that lack them, and standard streams that cannot be used."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base import standard_streams

ENCODINGS = (
    "ascii",
    "latin-1",
    "cp1252",
    "euc_jp",
    "shift_jis",
    "iso8859-15",
    "koi8_r",
    "utf-16",
    "utf-8",
)


def test_other_characters_that_an_encoding_lacks_become_escapes() -> None:
    assert (
        "Zürich 我 \udcff✓".encode("latin-1", standard_streams.REPLACED)
        == b"Z\xfcrich \\u6211 \\udcffv"
    )


@given(text=st.text(), encoding=st.sampled_from(ENCODINGS))
def test_every_text_can_be_printed_in_every_encoding(text: str, encoding: str) -> None:
    assert text.encode(encoding, standard_streams.REPLACED) or not text


def test_a_full_disk_is_reported_once_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = io.StringIO()
    monkeypatch.setattr(sys, "stderr", reported)
    with (
        open("/dev/full", "wb", buffering=0) as full,
        standard_streams.OutputFile(full.fileno(), "wb", False) as file,
    ):
        assert [file.write(b"one\n"), file.write(b"two\n")] == [4, 4]
        assert file.error is not None
        assert file.error.errno == errno.ENOSPC

    assert reported.getvalue() == "rtbench: the output cannot be written: No space left on device\n"


def test_a_descriptor_that_does_not_block_gets_the_whole_text() -> None:
    text = os.urandom(300_000)
    read: list[bytes] = []
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb") as pipe:
        thread = threading.Thread(target=lambda: read.append(pipe.read()))
        thread.start()
        with io.BufferedWriter(standard_streams.OutputFile(writer, "wb")) as file:
            file.write(text)
        thread.join()

    assert read == [text]
