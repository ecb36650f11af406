"""The commands that messages state for audio files, run with ffmpeg."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.plan.recordings import load_pcm
from tests.plan.wrong_sizes import FRAMES, LIES


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("content", [content for content, _ in LIES.values()], ids=LIES)
def test_the_remedy_converts_a_complete_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        load_pcm(path)
    command = str(refused.value).rpartition(": ")[2]
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)

    assert load_pcm(tmp_path / "a-pcm.wav").samples == FRAMES
