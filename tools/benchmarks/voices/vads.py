"""Two other detectors of speech: webrtcvad, and Silero by its ONNX model, without PyTorch.

They run in an environment of their own in the cache, which is installed when it is first needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.plan.recordings import resampled
from tools.benchmarks.voices.conditions import Stream
from tools.benchmarks.voices.detection import Found
from tools.benchmarks.voices.packages import CACHE
from tools.environments import in_python

NEEDED = ("numpy", "onnxruntime", "webrtcvad-wheels")
JOINED_S = 0.8
"""The maximum pause within speech, as that within a reply."""


def environment() -> Path:
    """Return the Python of the environment. Install it if it does not exist."""
    home = CACHE / "vads"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        print(f"installing {', '.join(NEEDED)}, silero-vad ...", file=sys.stderr)
        in_python(home, NEEDED)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--no-deps", "silero-vad"], check=True
        )
        (home / "complete").touch()
    return python


def vads(streams: Sequence[Stream]) -> dict[str, list[Found]]:
    """Return what each other detector finds in these streams."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "streams.npz"
        arrays = {
            f"{number:05}-{_rate(one)}": resampled(one.samples, one.rate_hz, _rate(one))
            for number, one in enumerate(streams)
        }
        np.savez(path, **arrays)  # type: ignore[arg-type]
        program = Path(__file__).with_name("vad_program.py")
        done = subprocess.run(
            [environment(), program, path], capture_output=True, text=True, check=True
        )
    listed: dict[str, list[list[list[float]]]] = json.loads(done.stdout)
    return {
        name: [_found(spans, one) for spans, one in zip(by_stream, streams, strict=True)]
        for name, by_stream in listed.items()
    }


def _rate(stream: Stream) -> int:
    return min(stream.rate_hz, 16_000)


def _found(spans: Sequence[Sequence[float]], stream: Stream) -> Found:
    joined: list[list[float]] = []
    for start_s, end_s in spans:
        if joined and start_s - joined[-1][1] < JOINED_S:
            joined[-1][1] = end_s
        else:
            joined.append([start_s, end_s])
    own = [
        span
        for span in joined
        if span[0] * stream.rate_hz < stream.end and span[1] * stream.rate_hz > stream.start
    ]
    if not own:
        return Found(None, None, invented=len(joined))
    return Found(own[0][0], own[-1][1], invented=len(joined) - len(own))
