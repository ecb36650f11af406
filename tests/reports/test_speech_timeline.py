"""The speech timeline: the turns that it shows, the positions of its elements, and the stalls
found in an event log.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.observe.reply import ItemPlayer
from bench.record import folder as run_folder
from bench.record import replay
from bench.record.spool import path_of
from bench.services.openai.dialect import FORMATS
from reports.analysis.summary.example_turns import (
    ExampleTurn,
    example_turns,
    example_turns_of_steps,
    playback_spans,
)
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report, response_ids
from reports.data.samples import VOICE_TO_VOICE
from reports.pages.run_report import speech_timeline
from reports.text.cells import example_name
from tests.reports import synthetic
from tests.reports.edited import edit
from tests.reports.shared import summary_in
from tests.reports.synthetic import Plan

TALK = ExampleTurn(
    role="slowest",
    target="direct",
    colour=0,
    step="greeting",
    turn=3,
    event_log="",
    speech_s=1.2,
    noticed_s=0.5,
    first_delta_s=0.9,
    wait_s=1.0,
    end_s=6.0,
    stall_s=0.0,
    stall_count=0,
)


def turns_drawn(summary: Summary) -> tuple[ExampleTurn, ...]:
    return example_turns(summary.run, summary.samples[VOICE_TO_VOICE])


def test_the_median_the_two_slowest_and_the_longest_stall_are_drawn(tmp_path: Path) -> None:
    found = turns_drawn(summary_in(tmp_path, Plan(sessions=60, turns=10, failed=0.05)))
    good = rtbench.load(tmp_path).turns.query("outcome_class == 'success'")
    waits = sorted(good["voice_to_voice_ms"])

    roles = [example_name(talk) for talk in found]
    assert roles == ["median turn", "slowest", "second slowest", "longest stall"]
    assert [1e3 * talk.wait_s for talk in found[:3]] == pytest.approx(
        [waits[math.ceil(len(waits) / 2) - 1], waits[-1], waits[-2]]
    )
    assert 1e3 * found[3].stall_s == good["stall_duration_ms"].max()


def test_the_median_and_the_slowest_turn_of_each_step_and_target_are_drawn(tmp_path: Path) -> None:
    summary = summary_in(tmp_path, Plan(sessions=40, turns=5, targets=("a", "b"), failed=0.1))
    found = example_turns_of_steps(summary.run, summary.samples[VOICE_TO_VOICE])
    good = rtbench.load(tmp_path).turns.query("outcome_class == 'success'")

    assert set(found) == set(good["step"])
    for step, talks_ in found.items():
        assert [(talk.target, example_name(talk)) for talk in talks_] == [
            (target, role) for target in ("a", "b") for role in ("median turn", "slowest")
        ]
        waits = sorted(good[(good["step"] == step) & (good["target"] == "b")]["voice_to_voice_ms"])
        assert 1e3 * talks_[2].wait_s == pytest.approx(waits[math.ceil(len(waits) / 2) - 1])
        assert 1e3 * talks_[3].wait_s == pytest.approx(waits[-1])


def test_instants_are_relative_to_the_end_of_speech(tmp_path: Path) -> None:
    median, *_ = turns_drawn(summary_in(tmp_path, Plan(sessions=20)))
    turns = rtbench.load(tmp_path).turns
    latency_s = turns["voice_to_voice_ms"] / 1e3
    row = turns[(latency_s - median.wait_s).abs() < 1e-9].iloc[0]

    end_ns = row["speech_end_at_ns"]
    assert median.speech_s == pytest.approx((end_ns - row["speech_start_at_ns"]) / 1e9)
    assert median.first_delta_s == pytest.approx((row["first_audio_at_ns"] - end_ns) / 1e9)
    played_s = row["audio_bytes_received"] / 48_000 + median.stall_s
    assert median.end_s == pytest.approx(median.first_delta_s + 0.06 + played_s)


def test_new_rows_of_an_unfinished_run_do_not_change_the_example_turns(tmp_path: Path) -> None:
    """The rows of a run in progress are read worker by worker, so new rows of the first worker
    move all other rows.
    """
    folder, plan = tmp_path, Plan(sessions=30)
    synthetic.write_killed(folder, plan)
    scripts = synthetic.document(plan, synthetic.rows(plan))["scripts"]
    run_folder.write_document(folder, run_folder.read_document(folder) | {"scripts": scripts})
    before = summarise(load_for_report(folder))
    expected, names = turns_drawn(before), [slow.response for slow in before.slowest]
    spool = path_of(folder, 0, "turns.arrows")
    spool.rename(path_of(folder, 1, "turns.arrows"))
    with pa.ipc.open_stream(path_of(folder, 1, "turns.arrows").read_bytes()) as stream:
        rows = stream.read_next_batch()
    others = pa.array([f"other-{row}" for row in range(len(rows))], pa.string())
    with pa.ipc.new_stream(spool, rows.schema) as stream:
        stream.write_batch(
            rows.set_column(rows.schema.get_field_index("session_id"), "session_id", others)
        )

    assert all(talk.end_s > talk.wait_s for talk in expected)
    # some values are NaN
    assert repr(example_turns(before.run, before.samples[VOICE_TO_VOICE])) == repr(expected)
    assert response_ids(before.run, [3, 1]) == ["resp_0000003", "resp_0000001"]
    assert all(names)


def test_bars_stay_within_the_axis() -> None:
    talk = replace(
        TALK,
        speech_s=30.0,
        wait_s=60.0,
        first_delta_s=55.0,
        end_s=math.nan,
        stall_s=3.0,
        stall_count=2,
    )
    plot = speech_timeline.speech([talk])

    for x in (float(part.split('"')[1]) for part in plot.parts if part.startswith("<rect")):
        assert plot.x0 <= x <= plot.x1


@pytest.mark.parametrize("silent_s", [1.4, 3.0, 5.9, 19.5])
@pytest.mark.parametrize("end_s", [6.0, math.nan])
def test_no_text_of_the_timeline_exceeds_its_width(silent_s: float, end_s: float) -> None:
    """In an earlier version, the text on an interruption was cut off if it was near the end of
    the axis.
    """
    talks = [
        replace(TALK, barge_in_s=silent_s - 0.1, silent_s=silent_s, end_s=end_s),
        replace(
            TALK, called_s=silent_s - 0.3, asked_on_s=silent_s, answer_s=silent_s + 0.2, end_s=end_s
        ),
    ]
    plot = speech_timeline.speech(talks)
    texts = re.findall(r'<text x="([\d.]+)" [^>]* text-anchor="(\w+)">([^<]*)<', plot.svg())

    assert texts
    for x, anchor, text in texts:
        assert (
            float(x) + (speech_timeline.LETTER * len(text) if anchor == "start" else 0) <= plot.w
        ), text


def test_every_located_stall_is_hatched() -> None:
    talk = replace(TALK, stall_s=0.7, stall_count=2, heard=((0.96, 2.0), (2.4, 4.0), (4.3, 6.0)))
    drawn = speech_timeline.speech([talk]).svg().replace("\u00a0", " ")

    assert drawn.count('class="hatch"') == 2
    assert "2 stalls, 700 ms" in drawn


MS = 1_000_000
BUFFER_NS = 60 * MS
NAMES = ("response.output_audio.delta", "response.audio.delta")
STORED = Path(__file__).parent / "stored"


def delta(at_ns: int, size: int, name: str = NAMES[0]) -> bytes:
    """Return the log line of an audio delta without the recorded audio."""
    event = msgspec.Raw(json.dumps({"type": name, "response_id": "r", "item_id": "i"}).encode())
    return msgspec.json.encode(
        replay.LoggedMessage(
            at_ns=at_ns, wire_bytes=size * 2, event=event, audio=replay.LoggedAudio(bytes=size)
        )
    )


def write(path: Path, lines: list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@given(
    deltas=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), min_size=1, max_size=20),
    name=st.sampled_from(NAMES),
)
def test_the_gaps_found_in_a_log_equal_the_stalls_of_the_player(
    tmp_path_factory: pytest.TempPathFactory, deltas: list[tuple[int, int]], name: str
) -> None:
    """Each entry of `deltas` is the time in ms since the previous delta, and the length of the
    delta's audio in ms.
    """
    audio, at_ns, lines = FORMATS["pcm16"], 10**12, []
    player = ItemPlayer(audio, BUFFER_NS, at_ns + deltas[0][0] * MS)
    for pause_ms, length_ms in deltas:
        at_ns += pause_ms * MS
        player.add(at_ns, 48 * length_ms, msgspec.Raw(b'""'))
        lines.append(delta(at_ns, 48 * length_ms, name))
    log = write(tmp_path_factory.mktemp("log") / "s.jsonl", lines)
    found = playback_spans(log, 10**12, at_ns, 48_000, BUFFER_NS)

    assert (
        sum(after[0] - before[1] for before, after in pairwise(found)) == player.stall_duration_ns
    )
    assert len(found) - 1 == player.stall_count
    assert found[-1][1] == player.ends_ns


def test_only_deltas_within_the_turn_count(tmp_path: Path) -> None:
    log = write(tmp_path / "s.jsonl", [delta(at, 4_800) for at in (100 * MS, 900 * MS, 5_000 * MS)])

    assert playback_spans(log, 800 * MS, 1_000 * MS, 48_000, BUFFER_NS) == ((960 * MS, 1_060 * MS),)
    assert playback_spans(log, 0, 50 * MS, 48_000, BUFFER_NS) == ()


@pytest.mark.parametrize(
    "content",
    [b"", b'{"action":"received","at_ns":3,"event":{"type":"response.audio.delta"', b"x\n"],
)
def test_an_unreadable_log_gives_no_gaps(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.jsonl").write_bytes(content)

    assert playback_spans(tmp_path / "s.jsonl", 0, 10, 48_000, 0) == ()
    assert playback_spans(tmp_path / "absent.jsonl", 0, 10, 48_000, 0) == ()


def run_with_stall(folder: Path, stall_ms: int) -> None:
    """Write a run of one turn, whose row has a stall of `stall_ms`, and an event log with a
    stall of 300 ms.
    """
    synthetic.write(folder, Plan(sessions=1, turns=1))
    row = pq.read_table(folder / "turns.parquet").to_pylist()[0]
    first_ns = row["start_ns"] + row["first_audio_at_ns"]
    changes = {
        "stall_duration_ns": stall_ms * MS,
        "stall_count": 1,
        "audio_bytes_received": 2 * 9_600,
    }
    edit(folder, "turns", lambda _, row: row | changes)
    lines = [delta(first_ns, 9_600), delta(first_ns + BUFFER_NS + 500 * MS, 9_600)]
    write(folder / "events" / f"{row['session_id']}.jsonl", lines)


def test_a_stall_is_drawn_at_its_position_in_the_log(tmp_path: Path) -> None:
    run_with_stall(tmp_path, 300)
    (talk,) = turns_drawn(summarise(rtbench.load(tmp_path)))

    assert example_name(talk) == "median turn, longest stall"
    assert len(talk.heard) == 2
    (_, stopped), (again, end) = talk.heard
    assert again - stopped == pytest.approx(0.3)
    assert end == pytest.approx(talk.end_s)


def test_the_gaps_of_a_stored_log_are_found() -> None:
    run = rtbench.load(STORED)
    log = next((STORED / "events").glob("*.jsonl"))
    turn = run.turns[(run.turns["session_id"] == log.stem) & run.turns["ttfa_ms"].notna()]
    row = turn.iloc[0]
    begin_ns = int(row["start_ns"])
    found = playback_spans(log, begin_ns, begin_ns + int(row["ended_at_ns"]), 48_000, 0)

    assert found[0][0] == begin_ns + int(row["first_audio_at_ns"])
    assert sum(end - begin for begin, end in found) == pytest.approx(
        row["audio_bytes_received"] / 48_000 * 1e9, abs=1e6
    )


def test_an_unknown_audio_format_leaves_the_reply_s_end_unknown(tmp_path: Path) -> None:
    summary = summarise(load_for_report(synthetic.write(tmp_path, Plan(), scripts=[])))
    median, *_ = turns_drawn(summary)

    assert math.isnan(median.end_s)
    assert "length unknown" in speech_timeline.speech([median]).svg()
    assert "its end is unknown" in speech_timeline.turn_numbers(median)


@pytest.mark.parametrize(
    ("wait_s", "end_s", "broken"), [(1.0, 19.0, False), (1.0, 25.0, True), (31.0, 40.0, True)]
)
def test_a_reply_beyond_the_axis_is_broken_off_with_its_time(
    wait_s: float, end_s: float, broken: bool
) -> None:
    talk = replace(TALK, wait_s=wait_s, end_s=end_s)
    drawn = speech_timeline.speech([talk]).svg().replace("\u00a0", " ")

    assert speech_timeline.breaks([talk]) == broken
    assert ('class="broken"' in drawn) == broken
    assert (f">to {end_s:g} s<" in drawn or f">reply from {wait_s:g} s<" in drawn) == broken
    assert "+25 s" not in drawn
