"""Damaged and unusual files: each is imported, or named in one line, and prevents no other
import.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bench.files.sanitize import escape_control, one_line
from tests.recorded_calls.constructed import FULL_SCALE, short_call
from tests.recorded_calls.imports import Imported, run_import

RATE_HZ = 8_000
Frames = NDArray[np.float64]
CALLER, AGENT = (channel / FULL_SCALE for channel in short_call(RATE_HZ))
CALL: Frames = np.stack([CALLER, AGENT], axis=1)
SECONDS = len(CALL) / RATE_HZ
NOISE = np.random.default_rng(1)


def audio(
    frames: Frames = CALL, rate_hz: int = RATE_HZ, subtype: str = "PCM_16", form: str = "WAV"
) -> bytes:
    written = io.BytesIO()
    soundfile.write(written, frames, rate_hz, subtype=subtype, format=form)
    return written.getvalue()


def at_rate(rate_hz: int) -> bytes:
    """Return the call with another rate, by the nearest sample."""
    positions = np.arange(0, SECONDS, 1 / rate_hz) * RATE_HZ
    return audio(CALL[positions.astype(int)], rate_hz)


def both(caller: Frames, agent: Frames) -> Frames:
    length = min(len(caller), len(agent))
    return np.stack([caller[:length], agent[:length]], axis=1)


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def tone(seconds: float, hertz: float = 440) -> Frames:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def music(seconds: float) -> Frames:
    """Return notes without a pause between them."""
    chords = (
        tone(0.5, hertz) + tone(0.5, hertz * 1.5)
        for hertz in NOISE.uniform(200, 900, round(seconds * 2))
    )
    return np.concatenate(list(chords))


QUIET = 0.0001 * NOISE.normal(size=len(CALL))
SILENT = np.zeros(len(CALL))


def imported_files() -> dict[str, bytes]:
    """Return the files that are imported, by name."""
    return {
        "ordinary.wav": audio(),
        **{
            f"wav {subtype}.wav": audio(subtype=subtype)
            for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW")
        },
        "flac.flac": audio(form="FLAC"),
        "opus.ogg": audio(subtype="OPUS", form="OGG"),
        "vorbis.ogg": audio(subtype="VORBIS", form="OGG"),
        "rf64.wav": audio(form="RF64"),
        "w64.wav": audio(form="W64"),
        "wavex.wav": audio(form="WAVEX"),
        "sun.au": audio(subtype="ULAW", form="AU"),
        "apple.aiff": audio(form="AIFF"),
        "apple.caf": audio(subtype="ALAW", form="CAF"),
        **{
            f"{rate_hz} Hz.wav": at_rate(rate_hz)
            for rate_hz in (7_999, 11_025, 16_000, 22_050, 44_100, 48_000, 384_000)
        },
        "with DC offset.wav": audio(CALL + np.array([0.02, -0.05])),
        "caller inverted.wav": audio(CALL * np.array([-1, 1])),
        "clipped.wav": audio(np.clip(CALL * 60, -1, 1)),
        "quiet.wav": audio(CALL / 20),
        "noisy.wav": audio(CALL + 0.002 * NOISE.normal(size=CALL.shape)),
        "floats beyond full scale.wav": audio(CALL * 3, subtype="FLOAT"),
        "without extension": audio(),
        "wrong extension.mp3": audio(),
        "a name with  spaces, 'quotes' and \"quotes\".wav": audio(),
        "line\nbreak\r\x1b[31m.wav": audio(),
        "::error ##vso[task].wav": audio(),
        os.fsdecode(b"not-utf-8-\xff\xfe.wav"): audio(),
        "名前 نام имя 🎧.wav": audio(),
        "x" * 251 + ".wav": audio(),
        "-starts-with-a-dash.wav": audio(),
        ".hidden.wav": audio(),
        "....wav": audio(),
        "'; rm -rf $HOME #.wav": audio(),
        "%s %d {0} {name}.wav": audio(),
    }


def refused_files() -> dict[str, tuple[bytes, str]]:
    """Return the files that are not imported, by name. Each has a part of its message."""
    return {
        "empty.wav": (b"", "is empty"),
        "random.wav": (NOISE.bytes(20_000), "is not readable audio"),
        **{
            f"wav header cut at {size}.wav": (audio()[:size], "")
            for size in (4, 11, 12, 20, 35, 43, 44)
        },
        **{
            f"wav body cut at {size}.wav": (audio()[:size], "is truncated")
            for size in (45, 46, 1_000, 30_000)
        },
        **{
            f"flac cut at {size}.flac": (audio(form="FLAC")[:size], "")
            for size in (4, 20, 41, 42, 86, 1_000, 20_000)
        },
        **{
            f"ogg cut at {size}.ogg": (audio(subtype="VORBIS", form="OGG")[:size], "")
            for size in (4, 27, 58, 1_000, 4_000, 9_000)
        },
        **{
            f"opus cut at {size}.ogg": (audio(subtype="OPUS", form="OGG")[:size], "")
            for size in (30, 100, 5_000)
        },
        "caf cut.caf": (audio(form="CAF")[:9_000], ""),
        "au cut.au": (audio(form="AU")[:9_000], "is truncated"),
        "one channel.wav": (
            audio(CALLER),
            "is mono; record the caller and the agent in two channels",
        ),
        "one side.wav": (audio(AGENT), "join them: sox -M caller.wav agent.wav call.wav"),
        "three channels.wav": (audio(np.column_stack([CALL, CALLER])), "has 3 channels"),
        "eight channels.wav": (audio(np.column_stack([CALL] * 4)), "has 8 channels"),
        "no frames.wav": (audio(CALL[:0]), "lasts 0.00 s, the minimum is 1 s"),
        "one frame.wav": (audio(CALL[:1]), "lasts 0.00 s"),
        "half a second.wav": (audio(CALL[:4_000]), "lasts 0.50 s"),
        "rate 0.wav": (patched(audio(), 24, bytes(4)), ""),
        "rate 1 Hz.wav": (audio(CALL[:100], 1), "has 1 samples per second"),
        "rate 100 Hz.wav": (at_rate(100), "has 100 samples per second"),
        "rate 4 GHz.wav": (patched(audio(), 24, b"\xff\xff\xff\xff"), ""),
        "no channels.wav": (patched(audio(), 22, bytes(2)), ""),
        "no bits.wav": (patched(audio(), 34, bytes(2)), ""),
        "unknown encoding.wav": (patched(audio(), 20, b"\x99\x99"), ""),
        **{
            f"a sample of {bad}.wav": (
                audio(np.concatenate([CALL, [[bad, 0]]]), subtype="FLOAT"),
                "is damaged",
            )
            for bad in (np.nan, np.inf)
        },
        "absurd floats.wav": (audio(CALL * 1e30, subtype="DOUBLE"), "is damaged"),
        "both silent.wav": (audio(both(SILENT, SILENT)), "channel 1, the caller's, is silent"),
        "caller silent.wav": (audio(both(SILENT, AGENT)), "channel 1, the caller's, is silent"),
        "agent silent.wav": (audio(both(CALLER, SILENT)), "channel 2, the agent's, is silent"),
        "only the agent speaks.wav": (
            audio(both(QUIET, AGENT)),
            "the call has no caller's voice: leave it out",
        ),
        "only the caller speaks.wav": (audio(both(CALLER, QUIET)), "the call has no agent's voice"),
        "the agent never answers.wav": (
            audio(both(np.concatenate([SILENT, CALLER]), np.concatenate([AGENT, SILENT]))),
            "answers nothing",
        ),
        "same channels.wav": (
            audio(both(CALLER, CALLER)),
            "both channels are the same, a mono recording",
        ),
        "same channels, both sides.wav": (
            audio(both(CALLER, CALLER)),
            "join them: sox -M caller.wav agent.wav call.wav",
        ),
        "same channels, one quieter.wav": (
            audio(both(CALLER, CALLER / 8)),
            "both channels are the same",
        ),
        "same channels, one inverted.wav": (
            audio(both(CALLER, -CALLER)),
            "are the same (one of them inverted)",
        ),
        "same channels, one delayed.wav": (audio(both(CALLER, np.roll(CALLER, 40))), ""),
        "swapped.wav": (audio(both(AGENT, CALLER + 0.1 * np.roll(AGENT, 800))), "add --caller 2"),
        "only noise.wav": (
            audio(0.05 * NOISE.normal(size=CALL.shape)),
            "has no sound above its background",
        ),
        "only DC.wav": (audio(both(SILENT + 0.1, SILENT - 0.3)), ""),
        "a constant.wav": (audio(both(SILENT + 0.1, AGENT)), "channel 1, the caller's, is silent"),
        "hold music.wav": (
            audio(both(np.tile(CALLER, 10), np.concatenate([AGENT, music(35)]))),
            "like hold music",
        ),
        "a long tone.wav": (
            audio(both(np.tile(CALLER, 10), np.concatenate([AGENT, tone(35)]))),
            "like hold music",
        ),
        "mp3.mp3": (audio(subtype="MPEG_LAYER_III", form="MP3"), "is MP3; convert it to WAV"),
        "refused\nline\r\x1b[31m.wav": (b"", "is empty"),
        "::refused ##vso[task].wav": (b"", "is empty"),
        os.fsdecode(b"refused-\xff\xfe.wav"): (b"", "is empty"),
        "x" * 250 + "2.wav": (b"", "is empty"),
    }


def written(folder: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    for name, data in files.items():
        path = folder / name
        path.write_bytes(data)
        yield path


@dataclass
class Unusual:
    """The import of all files. `refused` has (path, part of its line) of each file that is not
    imported.
    """

    imported: list[Path]
    refused: list[tuple[Path, str]]
    result: Imported


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Unusual:
    folder = tmp_path_factory.mktemp("unusual")
    calls, other = folder / "calls", folder / "other"
    calls.mkdir()
    other.mkdir()
    imported = [
        *written(calls, imported_files()),
        *written(other, {name: audio() for name in ("ordinary.wav", "flac.flac")}),
    ]
    files = refused_files()
    paths = written(calls, {name: data for name, (data, _) in files.items()})
    refused = [(path, part) for path, (_, part) in zip(paths, files.values(), strict=True)]
    (linked,) = written(other, {"linked.data": audio()})
    (folder / "link.wav").symlink_to(linked)
    (folder / "same.wav").symlink_to(imported[0])
    (folder / "nowhere.wav").symlink_to(folder / "missing.wav")
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "a folder.wav").mkdir()
    os.mkfifo(folder / "fifo.wav")
    (unreadable,) = written(folder, {"unreadable.wav": b""})
    unreadable.chmod(0)
    imported.append(folder / "link.wav")
    refused += [
        (folder / "same.wav", f"is the same file as {imported[0]}"),
        (imported[0], f"is the same file as {imported[0]}"),
        (folder / "nowhere.wav", "no such file"),
        (folder / "loop.wav", "symbolic links"),
        (folder / "a folder.wav", "is a folder in which no recording was found"),
        (folder / "fifo.wav", "is not a file"),
        (Path("/dev/zero"), "is not a file"),
        (imported[0] / "x.wav", "cannot be read"),
        (folder / ("y" * 300 + ".wav"), "File name too long"),
        (unreadable, "is empty" if os.access(unreadable, os.R_OK) else "cannot be read"),
    ]
    result = run_import(folder, "--", *imported, *(path for path, _ in refused))
    return Unusual(imported, refused, result)


def test_each_file_that_is_not_imported_is_named_in_one_line(done: Unusual) -> None:
    for line, (path, part) in zip(done.result.err, done.refused, strict=True):
        assert line.startswith(one_line(f"rtbench: {path}")[:300])
        assert escape_control(part) in line


def test_a_damaged_file_does_not_prevent_the_import_of_the_others(done: Unusual) -> None:
    result, total = done.result, len(done.imported) + len(done.refused)
    (totals,) = [line for line in result.out if line.startswith("Imported")]
    sessions = result.rows("sessions")

    assert result.status == 1
    assert totals.startswith(f"Imported {len(done.imported)} of {total} calls, with ")
    assert (
        f"{len(done.refused)} of {total} recordings could not be imported."
        in result.document["notices"]
    )
    assert sorted(row["session_id"] for row in sessions) == sorted(
        path.stem for path in result.scripts
    )
    assert len(sessions) == len(done.imported)


def test_each_encoding_of_a_call_gives_the_same_turn(done: Unusual) -> None:
    turns = done.result.rows("turns")
    assert {turn["outcome"] for turn in turns} == {"ok"}
    assert Counter(turn["session_id"] for turn in turns).most_common(1)[0][1] == 1
    assert len(turns) == len(done.imported)


def test_recordings_with_the_same_name_get_different_scripts(done: Unusual) -> None:
    assert {"ordinary", "ordinary-2", "flac", "flac-2"} <= {
        path.stem for path in done.result.scripts
    }


def test_no_script_is_hidden_from_a_shell(done: Unusual) -> None:
    assert len(list((done.result.folder / "out").glob("*.yaml"))) == len(done.imported)
    assert not [
        path for path in (done.result.folder / "out").iterdir() if path.name.startswith(".")
    ]
