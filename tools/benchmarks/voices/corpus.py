"""Recorded voices that start and end at known samples. Nothing of the product finds these samples.

Two rules find the start and the end of the voice in a file, after a high-pass of 60 Hz:

1. Energy. The level of a voice is the mean square of the loudest 5 % of its windows of 10 ms. A
   window belongs to the voice if it is at most 30 dB below this level and at least 10 dB above the
   file's floor, and if half of the 100 ms that follow it (before the end: that precede it) do too.
2. Variance. The change point of two Gaussians with different variances (AIC) between the quiet part
   and the first (last) window within 10 dB of the level.

A recording counts if both rules agree within 20 ms at both ends, and if its level is at least 35 dB
above its floor. The voice is then cut at the first and the last millisecond that are at most 30 dB
below the level (`edges`).

A speaker is a folder or a part of the file's name. Speakers of one language in KDE's packages count
as one, because one translator may have recorded both. In each group of packages, the speakers are
sorted by the hash of their name, and belong to the splits `tuning` and `held-out` in turn.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from tools.benchmarks.voices.packages import CACHE, Package, packages

Floats = NDArray[np.float64]
Split = Literal["tuning", "held-out"]
AUDIO = {".wav", ".gsm", ".ogg", ".raw", ".opus"}
NO_VOICES = re.compile(
    r"/silence/|/beep|/tt-|tone|Noise\.wav|/confbridge-(join|leave)|/ascending|/descending|/vm-beep"
)
HIGH_PASS_HZ = 60.0
WINDOW_S = 0.01
DEPTH = 10 ** (30 / 10)
DEFINED_DEPTH = 10 ** (35 / 10)
LOUDEST = 0.05
ABOVE_FLOOR = 10.0
MIN_SNR = 10 ** (35 / 10)
MAX_DIFFERENCE_S = 0.02
BEFORE_S = 1.0
"""The part of a file before the voice in which the second rule searches."""
MIN_S = 0.2
MAX_BY_SPEAKER = 120
"""The maximum number of files by speaker that are read."""
QUANTUM = 0.5 / 32_768


class Recording(NamedTuple):
    """A file with a voice. `path` is relative to the folder of the packages."""

    path: str
    package: str
    language: str
    speaker: str
    group: str
    """The name of a group of packages. A speaker is in one group only."""


class Truth(NamedTuple):
    """The voice of a recording in samples of its file. `level` and `floor` are mean squares of
    windows of 10 ms.

    `loudest_around` is that of the loudest window that is more than 20 ms away from the voice; 0 if
    there is none.
    """

    recording: Recording
    rate_hz: int
    start: int
    end: int
    level: float
    floor: float
    loudest_around: float

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / self.rate_hz


# Files and their speakers.


def recordings(found: Iterable[Package]) -> Iterator[Recording]:
    for package in found:
        for path in sorted(package.folder.rglob("*")):
            name = str(path.relative_to(package.folder.parent))
            if (
                path.suffix in AUDIO
                and path.is_file()
                and not path.is_symlink()
                and not NO_VOICES.search(name)
            ):
                known = _speaker(package.name, name)
                if known is not None:
                    yield Recording(name, package.name, *known)


def _speaker(package: str, path: str) -> tuple[str, str, str] | None:
    """Return (language, speaker, group) of a file; None if it is no recording of one person."""
    parts = path.split("/")
    if package.startswith("asterisk"):
        folder = parts[parts.index("sounds") + 1]
        prompted = {"es": "es-co", "fr": "Armelle"}
        speaker = prompted.get(folder) or folder.split("_")[-1]
        return folder[:2], speaker, "asterisk"
    if package == "alsa-utils":
        return "en", "alsa", "small"
    if package == "pocketsphinx-testdata":
        folder = parts[-2]
        return "en", parts[-1].split(".")[0] if folder == "data" else folder, "small"
    if package in {"klettres-data", "ktuberling-data"}:
        folder = parts[parts.index("klettres" if package == "klettres-data" else "sounds") + 1]
        language = re.split("[_@]", folder)[0]
        return language, f"kde-{language}", "kde"
    if package.startswith("fillets"):
        language, role = parts[-2], parts[-1].split("-")[1:2]
        return (
            (language, f"fillets-{language}-{role[0]}", "fillets")
            if role in (["m"], ["v"])
            else None
        )
    return "zh", f"gcin-{Path(path).stem}", "gcin"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _splits(found: Iterable[Recording]) -> dict[str, Split]:
    """Return the split of each speaker."""
    groups: dict[str, set[str]] = defaultdict(set)
    for recording in found:
        groups[recording.group].add(recording.speaker)
    names: tuple[Split, Split] = ("tuning", "held-out")
    return {
        speaker: names[number % 2]
        for speakers in groups.values()
        for number, speaker in enumerate(sorted(speakers, key=_hash))
    }


# The audio of a file.


@lru_cache(maxsize=256)
def read(path: str) -> tuple[Floats, int]:
    """Return the samples of a file of the cache, in one channel, and its sample rate."""
    full = CACHE / "packages" / path
    if full.suffix == ".raw":
        rate_hz = 16_000 if "tidigits" not in path else 20_000
        return np.fromfile(full, "<i2") / 32_768, rate_hz
    samples, rate_hz = soundfile.read(full, always_2d=True)
    return samples.mean(axis=1), rate_hz


def high_passed(samples: Floats, rate_hz: int) -> Floats:
    return sosfiltfilt(butter(4, HIGH_PASS_HZ, "high", fs=rate_hz, output="sos"), samples)


def energies(samples: Floats, rate_hz: int) -> Floats:
    """Return the mean square of each window of 10 ms."""
    size = round(WINDOW_S * rate_hz)
    return (samples[: len(samples) // size * size].reshape(-1, size) ** 2).mean(axis=1)


# The two rules.


def truth(recording: Recording) -> Truth | None:
    """Return the voice in a recording; None if it is not certain."""
    try:
        raw, rate_hz = read(recording.path)
    except (OSError, soundfile.LibsndfileError):
        return None
    if len(raw) < MIN_S * rate_hz:
        return None
    samples = high_passed(raw, rate_hz)
    found = by_energy(samples, rate_hz)
    if found is None:
        return None
    start, end, level, floor = found
    differences = (
        start - by_variance(samples, rate_hz, start, level),
        len(samples) - end - by_variance(samples[::-1], rate_hz, len(samples) - end, level),
    )
    is_short = end - start < MIN_S * rate_hz
    if (
        is_short
        or level < MIN_SNR * floor
        or max(map(abs, differences)) > MAX_DIFFERENCE_S * rate_hz
    ):
        return None
    margin = round(MAX_DIFFERENCE_S * rate_hz)
    around = [
        energies(part, rate_hz)
        for part in (samples[: max(0, start - margin)], samples[end + margin :])
    ]
    return Truth(
        recording, rate_hz, start, end, level, floor, float(np.concatenate(around).max(initial=0))
    )


def by_energy(
    samples: Floats, rate_hz: int, depth: float = DEPTH
) -> tuple[int, int, float, float] | None:
    """Return the start and the end of the voice by the first rule, its level, and the file's
    floor.
    """
    size, windows = round(WINDOW_S * rate_hz), energies(samples, rate_hz)
    if windows.max() < QUANTUM**2:
        return None
    level = level_of(windows)
    loud = windows >= level / depth
    inner = np.flatnonzero(loud)
    outer = np.concatenate([windows[: inner[0]], windows[inner[-1] + 1 :]])
    floor = float(np.median(outer) if len(outer) >= 5 else windows.min())
    loud &= windows >= floor * ABOVE_FLOOR
    span = _held(loud)
    if span is None:
        return None
    return span[0] * size, span[1] * size, level, floor


def defined(sound: Floats, rate_hz: int) -> tuple[int, int]:
    """Return the start and the end of a voice by the definition of docs/metrics.md, in samples.

    It is for voices that are not cut: what is between 30 and 35 dB below the level belongs to them.
    """
    found = by_energy(sound, rate_hz, DEFINED_DEPTH)
    assert found is not None, "the recording has a voice"
    return found[:2]


def level_of(windows: Floats) -> float:
    """Return the mean of the loudest windows."""
    return float(np.sort(windows)[-max(1, round(LOUDEST * len(windows))) :].mean())


def _held(loud: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Return the first window of the voice, and the one after its last window."""
    held = np.convolve(loud, np.ones(10))
    starts = np.flatnonzero(loud & (held[9:] >= 5))
    ends = np.flatnonzero(loud & (held[: len(loud)] >= 5))
    return (int(starts[0]), int(ends[-1]) + 1) if len(starts) and len(ends) else None


def edges(sound: Floats, rate_hz: int, depth: float = DEPTH) -> tuple[int, int]:
    """Return the first and the last loud millisecond of a voice, in samples, at a rate that may
    not be its file's.
    """
    size, per_ms = round(WINDOW_S * rate_hz), rate_hz // 1_000
    windows = energies(sound, rate_hz)
    limit = level_of(windows) / depth
    first, last = _held(windows >= limit) or (0, len(windows))
    part = sound[first * size : last * size]
    loud = np.flatnonzero(
        (part[: len(part) // per_ms * per_ms].reshape(-1, per_ms) ** 2).mean(axis=1) >= limit
    )
    return first * size + int(loud[0]) * per_ms, first * size + int(loud[-1] + 1) * per_ms


def by_variance(samples: Floats, rate_hz: int, start: int, level: float) -> int:
    """Return the first sample of the voice by the second rule."""
    first = max(0, start - round(BEFORE_S * rate_hz))
    loud = np.flatnonzero(energies(samples[first:], rate_hz) >= level / 10)
    last = first + int(loud[0] + 1) * round(WINDOW_S * rate_hz) if len(loud) else len(samples)
    squares = np.cumsum(samples[first:last] ** 2 + QUANTUM**2)
    count = np.arange(1, len(squares))
    before = squares[:-1] / count
    after = np.maximum(squares[-1] - squares[:-1], QUANTUM**2) / (len(squares) - count)
    cost = count * np.log(before) + (len(squares) - count) * np.log(after)
    margin = max(1, rate_hz // 1_000)
    inner = cost[margin:-margin]
    if not len(inner):
        return first
    whole = len(squares) * np.log(squares[-1] / len(squares))
    return first if inner.min() > whole - 20 else first + margin + int(np.argmin(inner))


# The corpus.


@cache
def truths() -> tuple[Truth, ...]:
    """Return all certain voices, sorted by the hash of their path."""
    by_speaker: dict[str, list[Recording]] = defaultdict(list)
    for recording in sorted(recordings(packages()), key=lambda entry: _hash(entry.path)):
        by_speaker[recording.speaker].append(recording)
    chosen = list(chain.from_iterable(listed[:MAX_BY_SPEAKER] for listed in by_speaker.values()))
    stored = CACHE / f"truths-{_hash(Path(__file__).read_text())[:12]}.json"
    if not stored.exists():
        with ProcessPoolExecutor() as pool:
            found = [entry for entry in pool.map(truth, chosen, chunksize=50) if entry is not None]
        temporary = stored.with_suffix(".part")
        temporary.write_text(
            json.dumps([entry._asdict() | {"recording": entry.recording.path} for entry in found])
        )
        temporary.rename(stored)
    known = {recording.path: recording for recording in chosen}
    listed = json.loads(stored.read_text())
    return tuple(Truth(**entry | {"recording": known[entry["recording"]]}) for entry in listed)


@cache
def split_of() -> dict[str, Split]:
    return _splits(recordings(packages()))


def in_turns(entries: Iterable[Truth]) -> list[Truth]:
    """Return voices in an order in which speakers alternate."""
    by_speaker: dict[str, list[Truth]] = defaultdict(list)
    for entry in entries:
        by_speaker[entry.recording.speaker].append(entry)
    turns: Iterable[Sequence[Truth | None]] = zip_longest(*by_speaker.values())
    return [entry for turn in turns for entry in turn if entry is not None]


def in_split(split: str) -> list[Truth]:
    splits = split_of()
    return in_turns(
        entry for entry in truths() if split in ("all", splits[entry.recording.speaker])
    )
