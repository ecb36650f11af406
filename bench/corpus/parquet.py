"""The Parquet files of two public benchmarks of the ends of turns: eot-bench and TurnBench.

A row of eot-bench (README of livekit/eot-bench, `Required dataset fields`) is one turn of a person
to an agent: `id`, `language`, `audio` (the bytes of an audio file), and `silence_spans`, all
silences from 100 ms, each with `start` and `end` in seconds. The last one begins at the end of the
turn, all others are pauses in it.

A row of TurnBench (eval/data.py and eval/gold.py of SesameAILabs/turnbench) is a conversation of
two people: `conversation_id`, `speaker_1_audio`, `speaker_2_audio`, and for each speaker the
segments of three annotators, `speaker_1_annotation_a` to `speaker_2_annotation_c`, each with
`start_s`, `end_s` and `label`. It states no turns: they follow from the segments (`_turns`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.base.errors import UsageError
from bench.corpus.labels import Label, is_language
from bench.files.sanitize import excerpt, slug
from bench.plan.recordings import RATE_HZ, load_pcm, write_wav
from bench.wire.audio import PCM16

EOT_BENCH = ("id", "language", "audio", "silence_spans")
SPEAKERS = (1, 2)
ANNOTATORS = ("a", "b", "c")
TURN_BENCH = (
    "conversation_id",
    *(f"speaker_{speaker}_audio" for speaker in SPEAKERS),
    *(f"speaker_{speaker}_annotation_{each}" for speaker in SPEAKERS for each in ANNOTATORS),
)
LANGUAGE_OF_TURN_BENCH = "en"
ROWS_AT_ONCE = 8
MIN_PAUSE_S = 0.1
"""The minimum duration of a pause: shorter silences are parts of words."""
MAX_PAUSE_S = 5.0
"""The maximum duration of a pause, as in eot-bench: after a longer one, an answer is no mistake."""
LONG_PAUSE = f"a pause of more than {MAX_PAUSE_S:g} s"
DISPUTED = "no two annotators agree on a part"
CLAIMS = frozenset(
    (
        "Normal Turn",
        "Regular Turn",
        "Strong Floor Hold",
        "Bounded Response",
        "Filler",
        "Overlap",
        "Floor-taking Competitive Interruption",
        "Floor-taking Cooperative Interruption",
    )
)
"""The labels of TurnBench with which a segment claims the floor."""
TOLERANCE_S = 0.2
"""The maximum difference of the starts, and of the ends, of segments that are the same."""
LEAD_S = 0.2
"""The audio of a WAV before and after a turn of a conversation."""


class Segment(NamedTuple):
    """A part of a speaker's channel, in seconds."""

    start: float
    end: float


def read_parquet(path: Path, folder: Path, left_out: Counter[str]) -> Iterator[Label]:
    """Yield the labels of a Parquet file, and write the audio of each into `folder`. Count turns
    that are left out, by the reason. Raise UsageError.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            columns = next((each for each in (EOT_BENCH, TURN_BENCH) if names.issuperset(each)), ())
            if not columns:
                raise UsageError(
                    f"{path}: has neither the columns of eot-bench ({', '.join(EOT_BENCH)}) nor"
                    f" those of TurnBench ({', '.join(TURN_BENCH[:2])} …)"
                )
            labels = _of_eot_bench if columns is EOT_BENCH else _of_turn_bench
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{path}, row {number}"
                    try:
                        yield from labels(row, where, folder, left_out)
                    except (KeyError, TypeError, ValueError) as error:
                        raise UsageError(
                            f"{where}: a column has another form than its benchmark states"
                            f" ({excerpt(repr(error))})"
                        ) from None
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: is no readable Parquet file ({excerpt(str(error))})") from None


def _of_eot_bench(
    row: Mapping[str, Any], where: str, folder: Path, left_out: Counter[str]
) -> Iterator[Label]:
    spans = [Segment(*map(float, ends)) for ends in _table(row["silence_spans"], "start", "end")]
    if not spans:
        raise UsageError(f"{where}: has no silence_spans: the last one must be the end of the turn")
    language = str(row["language"])
    if not is_language(language):
        raise UsageError(f"{where}: language {excerpt(language)!r} is unknown")
    *pauses, end = spans
    leading = pauses and pauses[0].start < MIN_PAUSE_S
    start_s = pauses.pop(0).end if leading else None
    if any(_length(pause) > MAX_PAUSE_S for pause in pauses):
        left_out[LONG_PAUSE] += 1
        return
    file = _written(folder / language, str(row["id"]), row["audio"], where)
    known = tuple(pause for pause in pauses if _length(pause) >= MIN_PAUSE_S)
    yield Label(where, file, language, end.start, known, start_s)


def _of_turn_bench(
    row: Mapping[str, Any], where: str, folder: Path, left_out: Counter[str]
) -> Iterator[Label]:
    name = slug(str(row["conversation_id"]))
    tracks = {
        speaker: [
            [
                Segment(float(start), float(end))
                for start, end, label in _table(
                    row[f"speaker_{speaker}_annotation_{each}"], "start_s", "end_s", "label"
                )
                if label in CLAIMS
            ]
            for each in ANNOTATORS
        ]
        for speaker in SPEAKERS
    }
    if not any(segment for of_speaker in tracks.values() for segment in of_speaker):
        raise UsageError(f"{where}: has no labels: use the development set, dev, of TurnBench")
    of_speaker = {speaker: _agreed(each) for speaker, each in tracks.items()}
    disputed = [segment for _, unclear in of_speaker.values() for segment in unclear]
    language = LANGUAGE_OF_TURN_BENCH
    for speaker, other in zip(SPEAKERS, reversed(SPEAKERS), strict=True):
        turns = list(_turns(of_speaker[speaker][0], of_speaker[other][0], disputed, left_out))
        if not turns:
            continue
        whole = _written(
            folder / language, f"{name}-{speaker}", row[f"speaker_{speaker}_audio"], where
        )
        pcm = load_pcm(whole)
        whole.unlink()
        samples = np.frombuffer(pcm.data, np.int16)
        for number, (segments, until) in enumerate(turns, 1):
            first = max(0.0, segments[0].start - LEAD_S)
            end = min(segments[-1].end + LEAD_S, until)
            file = whole.with_name(f"{name}-{speaker}-{number}.wav")
            part = samples[round(first * RATE_HZ) : round(end * RATE_HZ)]
            write_wav(file, part.tobytes(), PCM16)
            yield Label(
                f"{where}, speaker {speaker} at {segments[0].start:.1f} s",
                file,
                language,
                segments[-1].end - first,
                tuple(
                    (one.end - first, following.start - first)
                    for one, following in pairwise(segments)
                    if following.start - one.end >= MIN_PAUSE_S
                ),
                segments[0].start - first,
            )


# Two of the three annotators decide. Segments of one speaker may overlap, as a turn and an
# interruption in it: they are one.
def _agreed(tracks: Sequence[Sequence[Segment]]) -> tuple[list[Segment], list[Segment]]:
    """Return the segments on which at least two annotators agree, with the medians of their ends,
    and the segments of one annotator that overlap none of these.
    """
    found = list[Segment]()
    for segment in sorted(segment for track in tracks for segment in track):
        same = [
            next((other for other in track if _is_same(segment, other)), None) for track in tracks
        ]
        known = [other for other in same if other is not None]
        if len(known) > 1:
            ends = Segment(median(each.start for each in known), median(each.end for each in known))
            if found and ends.start < found[-1].end:
                ends = Segment(found[-1].start, max(found.pop().end, ends.end))
            found.append(ends)
    single = (segment for track in tracks for segment in track)
    return found, [each for each in single if not any(_overlap(each, other) for other in found)]


def _turns(
    own: Sequence[Segment],
    others: Sequence[Segment],
    disputed: Sequence[Segment],
    left_out: Counter[str],
) -> Iterator[tuple[list[Segment], float]]:
    """Yield the segments of each turn, and the start of the speaker's next segment.

    A turn ends when the other speaker talks next, or already talks. Turns that overlap a disputed
    segment, and those with a pause of more than `MAX_PAUSE_S`, are left out.
    """
    turn = list[Segment]()
    starts = [*(segment.start for segment in own[1:]), float("inf")]
    for segment, following in zip(own, starts, strict=True):
        turn.append(segment)
        answered = (each.start < following and each.end > segment.end for each in others)
        if following < float("inf") and not any(answered):
            continue
        whole = Segment(turn[0].start, turn[-1].end)
        pauses = (later.start - one.end for one, later in pairwise(turn))
        if any(pause > MAX_PAUSE_S for pause in pauses):
            left_out[LONG_PAUSE] += 1
        elif any(_overlap(whole, each) for each in disputed):
            left_out[DISPUTED] += 1
        else:
            yield turn, following
        turn = []


def _is_same(one: Segment, other: Segment) -> bool:
    return all(abs(first - second) <= TOLERANCE_S for first, second in zip(one, other, strict=True))


def _overlap(one: Segment, other: Segment) -> bool:
    return one.start < other.end and other.start < one.end


def _length(segment: Segment) -> float:
    return segment.end - segment.start


def _table(values: Any, *names: str) -> list[tuple[Any, ...]]:
    """Return the rows of a list of tables, or of a table of lists: `datasets` writes either."""
    if isinstance(values, Mapping):
        return list(zip(*(values[name] for name in names), strict=True))
    return [tuple(each[name] for name in names) for each in values or ()]


def _written(folder: Path, name: str, audio: Any, where: str) -> Path:
    """Write the bytes of an audio file. Return its path."""
    data = audio.get("bytes") if isinstance(audio, Mapping) else None
    if not data:
        raise UsageError(f"{where}: has no bytes of audio: download the data with their audio")
    path = folder / f"{slug(name)}{'.flac' if data[:4] == b'fLaC' else '.wav'}"
    if path.exists():
        raise UsageError(f"{where}: has the id of another row, {excerpt(name)!r}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path
