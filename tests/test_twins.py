"""The compiled modules and their interpreted twins. These properties compare them, next to those of
larger parts.

Larger parts: `_blocks` in observe/test_continued_sound.py and observe/test_onsets.py, `_compiled`
in transport/test_frames.py and transport/test_reader.py, `_sending` in transport/test_frames.py and
transport/test_plain_chunks.py, `_packets` in transport/media/test_usual_packets.py, `_datagrams` in
transport/test_datagrams.py, and `_loop` in transport/test_event_loop.py.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.compiled import compiled_module, twin
from bench.transport import _loop_interpreted
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
