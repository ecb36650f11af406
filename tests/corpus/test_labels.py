"""`rtbench init --labels`: labelled recordings become scripts; wrong labels are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.base.errors import UsageError, each_error
from bench.corpus import scripts
from bench.plan.recordings import RATE_HZ, SpeechSpan, write_wav
from bench.plan.script import load_script
from bench.plan.turns import AudioTurn
from bench.wire.audio import PCM16
from tests.command_line import call_or_raise

NAMES = "file,end_s,pauses_s,language"
TONE = (8_000 * np.sin(np.arange(RATE_HZ) * 0.06)).astype(np.int16)


def wav(path: Path, *sounds_s: tuple[float, float], seconds: float = 3.0) -> Path:
    """Write a WAV with sounds between these seconds."""
    samples = np.zeros(round(seconds * RATE_HZ), np.int16)
    for start_s, end_s in sounds_s or ((0.2, seconds - 0.2),):
        part = samples[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
        part[:] = np.resize(TONE, part.size)
    write_wav(path, samples.tobytes(), PCM16)
    return path


def labels(folder: Path, *rows: str, names: str = NAMES) -> Path:
    """Write two WAVs of 3 s, and a CSV."""
    for name in ("a.wav", "b.wav"):
        wav(folder / name, (0.2, 1.0), (1.5, 2.5))
    path = folder / "labels.csv"
    path.write_text("\n".join((names, *rows)), encoding="utf-8")
    return path


def steps_of(path: Path) -> list[AudioTurn]:
    return [step for step in load_script(path).steps if isinstance(step, AudioTurn)]


def init(labels: Path, folder: Path, *options: str) -> tuple[int, str]:
    return call_or_raise("init", folder, "--labels", labels, *options)


def samples(begin_s: float, end_s: float) -> tuple[int, int]:
    return round(begin_s * RATE_HZ), round(end_s * RATE_HZ)


def speech(begin_s: float, end_s: float, *pauses_s: tuple[float, float]) -> SpeechSpan:
    return SpeechSpan(*samples(begin_s, end_s), tuple(samples(*pause) for pause in pauses_s))


def test_each_language_is_a_script_with_the_labelled_ends_and_pauses(tmp_path: Path) -> None:
    path = labels(
        tmp_path,
        "a.wav,0.2,2.3456,1.01-1.4 1.6-2,en",
        "b.wav,,2.5,,pt-BR",
        names=f"file,start_s,{NAMES[5:]}",
    )
    out = tmp_path / "out"

    status, printed = init(path, out)

    assert status == 0
    assert f"{out}/en.yaml: 1\N{NO-BREAK SPACE}turn, 1 with pauses" in printed
    assert "Next: rtbench sweep " in printed
    (english,) = steps_of(out / "en.yaml")
    assert [pcm.speech for pcm in english.recordings] == [
        speech(0.2, 2.3456, (1.01, 1.4), (1.6, 2.0))
    ]
    assert english.recordings[0].pause_ns == 400_000_000
    (brazilian,) = steps_of(out / "pt-BR.yaml")
    assert brazilian.recordings[0].pause_ns is None


def test_a_csv_of_windows_and_a_folder_are_read(tmp_path: Path) -> None:
    path = labels(tmp_path)
    path.write_bytes("\ufefffile,start_s,end_s\r\na.wav,0.25,2.5\r\nb.wav,,2.5\r\n".encode())

    init(tmp_path, tmp_path / "out")

    (turn,) = steps_of(tmp_path / "out/turns.yaml")
    begins = [pcm.speech.begin for pcm in turn.recordings]
    assert begins == pytest.approx(samples(0.25, 0.2), abs=RATE_HZ / 1_000)


def test_sound_after_the_labelled_end_is_reported(tmp_path: Path) -> None:
    path = labels(tmp_path, "a.wav,1.0,,en", "b.wav,2.5,,en")

    _, printed = init(path, tmp_path / "out")

    assert "1\N{NO-BREAK SPACE}recording with sound after the labelled end" in printed
    assert "a.wav for 1.5 s" in printed


def test_a_maximum_of_recordings_from_all_parts_are_played_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "MAX_RECORDINGS", 3)
    rows = [f"{wav(tmp_path / f'{number}.wav').name},2.8,,en" for number in range(9)]
    path = labels(tmp_path, *rows)

    _, printed = init(path, tmp_path / "out")

    (turn,) = steps_of(tmp_path / "out/en.yaml")
    assert [pcm.path.name for pcm in turn.audio] == ["0.wav", "3.wav", "6.wav"]
    assert "left out 6: more than 3 in en" in printed


REFUSED: list[tuple[str, tuple[str, ...], str]] = [
    (
        "file,end,language",
        ("a.wav,2.5,en",),
        ":1: has the unknown column 'end'; did you mean end_s",
    ),
    ("file,language", ("a.wav,en",), ":1: has no column end_s"),
    ("file;end_s", ("a.wav;2.5",), ":1: has the name 'file;end_s': separate cells by commas"),
    (NAMES, (), "has no row"),
    (NAMES, ("a.wav,2,5,,en",), ":2: must have 4 cells, one for each name, not 5"),
    (NAMES, ('a.wav,"2,5",,en',), ":2: end_s must be seconds, as in 2.35, not '2,5'"),
    (NAMES, ("a.wav,-1,,en",), ":2: end_s must be seconds"),
    (NAMES, ("a.wav,,,en",), ":2: has no value for 'end_s'"),
    (NAMES, ("a.wav,2.5,1.1,en",), ":2: pauses_s must be the start and the end of each pause"),
    (NAMES, ("a.wav,2.5,,englsh",), ":2: language 'englsh' is unknown: write an ISO 639 code"),
    (NAMES, ("c.wav,2.5,,en",), "c.wav: no such file"),
    (NAMES, ("a.wav,2.5,,en", "./a.wav,2.4,,en"), ":3: names the file of line 2 again"),
    (
        NAMES,
        ("a.wav,2500,,en",),
        ":2: the speech must start before it ends, and must not end after",
    ),
    (NAMES, ("a.wav,0.1,,en",), ":2: the speech must start before it ends"),
    (NAMES, ("a.wav,2.5,2.4-2.6,en",), "2.4 to 2.6 is not"),
    (NAMES, ("a.wav,2.5,1.4-1.2,en",), "1.4 to 1.2 is not"),
    (NAMES, ("a.wav,2.5,1.0-1.4 1.2-1.6,en",), "1.2 to 1.6 is not"),
]


@pytest.mark.parametrize(("names", "rows", "problem"), REFUSED)
def test_labels_that_do_not_fit_are_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, names: str, rows: tuple[str, ...], problem: str
) -> None:
    path = labels(tmp_path, *rows, names=names)

    with pytest.raises(UsageError) as refused:
        init(path, tmp_path / "out")

    assert problem in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_all_wrong_labels_are_reported_at_once(tmp_path: Path) -> None:
    path = labels(tmp_path, "a.wav,9,,en", "b.wav,8,,en")

    with pytest.raises(UsageError) as refused:
        init(path, tmp_path / "out")

    assert len(each_error(refused.value)) == 2


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    path = labels(tmp_path, "a.wav,2.5,,en")

    with pytest.raises(UsageError, match="has files: name a new folder"):
        init(path, tmp_path)

    assert path.exists()


def bytes_of(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "path": path.name}


@pytest.mark.parametrize("is_table_of_lists", [False, True])
def test_eot_bench_is_read(tmp_path: Path, is_table_of_lists: bool) -> None:
    audio = bytes_of(wav(tmp_path / "a.wav", (0.3, 1.0), (1.4, 2.2)))
    spans = [(0.0, 0.3), (1.0, 1.4), (1.8, 1.85), (2.2, 3.0)]
    of_rows = {"t/1": spans, "t2": [(0.5, 6.5), (7.0, 8.0)]}
    rows = [
        {
            "id": name,
            "language": "de",
            "audio": audio,
            "silence_spans": _spans(each, is_table_of_lists),
        }
        for name, each in of_rows.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "validation.parquet")

    _, printed = init(tmp_path, tmp_path / "out")

    (turn,) = steps_of(tmp_path / "out/de.yaml")
    (pcm,) = turn.recordings
    assert pcm.speech == speech(0.3, 2.2, (1.0, 1.4))
    assert "left out 1: a pause of more than 5 s" in printed


def _spans(spans: list[tuple[float, float]], is_table_of_lists: bool) -> Any:
    starts, ends = zip(*spans, strict=True)
    if is_table_of_lists:
        return {"start": list(starts), "end": list(ends)}
    return [{"start": start, "end": end} for start, end in spans]


def test_turns_of_turnbench_are_those_on_which_two_annotators_agree(tmp_path: Path) -> None:
    sounds = [(0.5, 1.0), (1.5, 2.0), (4.0, 4.5), (7.0, 7.6)]
    one = bytes_of(wav(tmp_path / "1.wav", *sounds, seconds=9.0))
    two = bytes_of(wav(tmp_path / "2.wav", (2.5, 3.5), (5.0, 6.0), seconds=9.0))
    first = [(0.5, 1.0, "Normal Turn"), (1.5, 2.0, "Filler"), (4.0, 4.5, "Normal Turn")]
    shifted = [(0.6, 1.1, "Normal Turn"), (1.5, 2.0, "Normal Turn"), (5.5, 5.6, "Laughter")]
    alone = [(7.0, 7.6, "Normal Turn"), (2.6, 2.7, "Continuer Backchannel")]
    other = [(2.5, 3.5, "Normal Turn"), (5.0, 6.0, "Normal Turn")]
    tracks = {1: (first, shifted, [first[2], *alone]), 2: (other, other, [])}
    row: dict[str, Any] = {"conversation_id": 7, "speaker_1_audio": one, "speaker_2_audio": two}
    for speaker, of_speaker in tracks.items():
        for name, track in zip("abc", of_speaker, strict=True):
            row[f"speaker_{speaker}_annotation_{name}"] = [
                {"start_s": start, "end_s": end, "label": label} for start, end, label in track
            ]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "dev.parquet")

    init(tmp_path / "dev.parquet", tmp_path / "out")

    (turn,) = steps_of(tmp_path / "out/en.yaml")
    found = {pcm.path.stem: pcm.speech for pcm in turn.recordings}
    assert found == {
        "7-1-1": speech(0.2, 1.65, (0.7, 1.15)),
        "7-1-2": speech(0.2, 0.7),
        "7-2-1": speech(0.2, 1.2),
        "7-2-2": speech(0.2, 1.2),
    }


ROW = {
    "id": "1",
    "language": "en",
    "audio": {"bytes": b"RIFF", "path": ""},
    "silence_spans": [{"start": 1.0, "end": 2.0}],
}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": "1"}, "has neither the columns of eot-bench (id, language, audio, silence_spans)"),
        (ROW | {"audio": {"bytes": b"", "path": ""}}, "row 1: has no bytes of audio"),
        (ROW, "row 1: "),
        (ROW | {"language": "englsh"}, "row 1: language 'englsh' is unknown"),
        (ROW | {"silence_spans": []}, "row 1: has no silence_spans"),
        (ROW | {"silence_spans": [1.0]}, "row 1: a column has another form"),
        (ROW | {"silence_spans": [{"start": None, "end": None}]}, "row 1: "),
        (
            ROW | {"silence_spans": [{"start": math.nan, "end": 2.0}]},
            "row 1: a label is not from 0",
        ),
    ],
)
def test_other_parquet_files_are_refused(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")

    with pytest.raises(UsageError) as refused:
        init(tmp_path / "x.parquet", tmp_path / "out")

    assert problem in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_damaged_parquet_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty").mkdir()

    for path, problem in (
        ("x.parquet", "is no readable Parquet file"),
        ("empty", "has no CSV file"),
    ):
        with pytest.raises(UsageError, match=problem):
            init(tmp_path / path, tmp_path / "out")
