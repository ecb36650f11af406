"""The compiled modules and their interpreted twins. These properties compare them, next to those of
larger parts.

Larger parts: `_blocks` in observe/test_continued_sound.py and observe/test_onsets.py, `_compiled`
in transport/test_frames.py and transport/test_reader.py, `_sending` in transport/test_frames.py and
transport/test_plain_chunks.py, `_packets` in transport/media/test_usual_packets.py.
"""

from __future__ import annotations

import ast
import select
import socket
import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.compiled import compiled_module, twin
from bench.transport import _datagrams_interpreted, _loop_interpreted, datagrams, loop_monitor
from bench.wire.audio import G711_ALAW, G711_ULAW, AudioFormat
from tests.compiled import needs_compiler

ROOT = Path(__file__).parents[1]
STUBS = {path.stem: path for path in (ROOT / "bench").rglob("*.pyi")}
WITHOUT_TWIN = {"_audible", "_ring"}
"""A module whose functions are expressions of numpy and binascii, where they are used; and the ring
of io_uring, without which epoll reads the sockets."""
TWINS = sorted(STUBS.keys() - WITHOUT_TWIN)


def test_without_the_compiled_module_its_twin_is_used() -> None:
    names = "bench.transport._loop", "bench.transport._loop_interpreted"
    with patch.dict(sys.modules, {names[0]: None}):
        assert compiled_module(names[0]) is None
        assert twin(*names) is _loop_interpreted


def test_a_compiled_module_that_lacks_an_import_of_its_own_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import rtbench_lacks_this")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="rtbench_lacks_this"):
        twin("needs_more", "bench.transport._loop_interpreted")


def parameters(path: Path) -> dict[str, list[str]]:
    """Return the names of the parameters of each public function and method of a module."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    named = [("", node) for node in body] + [
        (f"{each.name}.", node) for each in classes for node in each.body
    ]
    return {
        f"{prefix}{node.name}": [each.arg for each in node.args.args]
        for prefix, node in named
        if isinstance(node, ast.FunctionDef)
        and (not node.name.startswith("_") or node.name == "__init__")
    }


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_functions_and_methods_of_the_compiled_module(name: str) -> None:
    stub = STUBS[name]
    interpreted = stub.with_name(
        "_interpreted.py" if name == "_compiled" else f"{name}_interpreted.py"
    )

    ours, compiled = parameters(interpreted), parameters(stub)
    module = import_module(".".join(interpreted.relative_to(ROOT).with_suffix("").parts))
    assert {
        method for method in compiled if "." not in method and not hasattr(module, method)
    } == set()
    assert {method: ours[method] for method in ours if method in compiled} == {
        method: compiled[method] for method in compiled if method in ours
    }


@needs_compiler
@given(st.binary(max_size=400), st.sampled_from([G711_ULAW, G711_ALAW]))
def test_bytes_of_g711_are_expanded_as_by_numpy(data: bytes, audio: AudioFormat) -> None:
    table = audio.decode(bytes(range(256)))

    assert np.array_equal(audio.decode(data), table[np.frombuffer(data, np.uint8)])


KINDS: tuple[ModuleType, ModuleType] = (datagrams, _datagrams_interpreted)
SENT = st.lists(st.binary(max_size=2_000), max_size=6)


@given(SENT, st.integers(1, 8))
def test_both_readers_and_writers_of_datagrams_have_the_same_results(
    sent: list[bytes], most: int
) -> None:
    results = []
    for kind in KINDS:
        with ExitStack() as opened:
            ours, other = (
                opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                for _ in range(2)
            )
            ours.bind(("127.0.0.1", 0))
            ours.setblocking(False)
            reader, writer = kind.DatagramReader(ours), kind.DatagramWriter(other)
            refused = [isinstance(writer.send(data, ours.getsockname()), int) for data in sent]
            reads = [reader.receive(0, most) for _ in range(len(sent) + 1)]
            from_other = [
                source == other.getsockname() for read, _ in reads for _, source, _ in read
            ]
            received = [data for read, _ in reads for data, _, _ in read]
            results.append(
                (
                    refused,
                    received,
                    [len(read) <= most for read, _ in reads],
                    reads[-1][1],
                    from_other,
                )
            )

    assert results[0] == results[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll is Linux's")
@given(st.lists(st.booleans(), max_size=6))
def test_both_find_the_same_readable_files(written: list[bool]) -> None:
    with ExitStack() as opened:
        poller = opened.enter_context(select.epoll())
        for is_written in written:
            one, other = socket.socketpair()
            opened.enter_context(one)
            opened.enter_context(other)
            poller.register(one, select.EPOLLIN)
            other.send(b"x" * is_written)
        found = [each.readable(poller.fileno()) for each in (loop_monitor, _loop_interpreted)]  # type: ignore[attr-defined]

    assert sorted(found[0] or []) == sorted(found[1] or [])
    assert len(found[0] or []) == sum(written)
