"""The waveform of a recorded call in the report of a run."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.base.errors import UsageError
from bench.services.openai.dialect import GA
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from reports.pages.run_report.waveform.recorded_call import (
    MAX_SHOWN_S,
    RecordedCall,
    Wait,
    envelope,
    recorded_call,
)
from reports.pages.run_report.waveform.section import LANE, sound, waveform, waveform_of_call
from reports.render.markdown import markdown_blocks
from tests.record.call_logs import Session, openai_delta
from tests.reports import synthetic
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=20, turns=3, failed=0.1)
SILENT = np.zeros((10, 2), np.int16)
CALL = RecordedCall(
    target="sim",
    event_log="events/s1.jsonl",
    calls=3,
    metric="voice_to_voice",
    slowest=Wait(2, "order", 6.0, 8.65),
    waits=(Wait(1, "hours", 2.0, 3.27), Wait(2, "order", 6.0, 8.65)),
    start_s=0.0,
    end_s=20.0,
    caller=SILENT,
    service=SILENT,
)


def recorded(folder: Path, seconds: int, *, record_audio: bool = True) -> Summary:
    """Return a run of which each tenth call has a log: the caller speaks in the first second, the
    service from the second second to two seconds before the end, twice as loud.
    """
    run = synthetic.write(folder, PLAN, settings={"record_audio": True})
    (run / "events").mkdir()
    for session in rtbench.load(run).sessions.query("event_log")["session_id"]:
        log = Session(run / "events" / f"{session}.jsonl", GA, "pcm16", record_audio=record_audio)
        log.begin(0)
        log.say(1_000, 1_000, 4_000)
        log.hear(2_000, openai_delta("item")(log.encoded(1_000 * (seconds - 4), 8_000)))
        with nullcontext() if record_audio else pytest.raises(UsageError, match="no audio"):
            log.finish(1_000 * seconds)
    return summarise(load_for_report(run))


def test_the_call_of_the_slowest_recorded_turn_is_drawn(tmp_path: Path) -> None:
    summary = recorded(tmp_path / "run", 70)
    call = recorded_call(summary, 100)
    turns, sessions = rtbench.load(tmp_path / "run").turns, summary.run.sessions
    logged = turns[turns["session_id"].isin(sessions[sessions["event_log"]]["session_id"])]
    slowest = logged.loc[logged["voice_to_voice_ms"].idxmax()]

    assert call is not None
    assert call.calls == 2
    assert call.event_log == f"events/{slowest['session_id']}.jsonl"
    assert call.slowest.wait_ms == pytest.approx(slowest["voice_to_voice_ms"])
    assert call.end_s - call.start_s == pytest.approx(MAX_SHOWN_S)
    assert call.start_s <= call.slowest.start_s <= call.end_s
    of_call = logged[logged["session_id"] == slowest["session_id"]]
    assert len(call.waits) == len(of_call)
    assert sum(bool(wait.failure) for wait in call.waits) == sum(
        of_call["outcome_class"] == "failed"
    )


def test_the_envelope_has_the_sound_of_the_caller_and_of_the_service(tmp_path: Path) -> None:
    call = recorded_call(recorded(tmp_path / "run", 20), 100)

    assert call is not None
    assert call.caller[:5].max() == 4_000
    assert not call.caller[6:].any()
    assert not call.service[:9].any()
    assert call.service[11:89].min() == 8_000


def test_a_run_without_recorded_audio_has_no_waveform() -> None:
    assert waveform_of_call(summary_of(PLAN)) is None


def test_a_log_without_audio_is_named(tmp_path: Path) -> None:
    section = waveform_of_call(recorded(tmp_path / "run", 20, record_audio=False))

    assert section is not None
    text = markdown_blocks(section.blocks)
    assert re.search(r"is not shown: .*events/.*contains no audio", text)


@given(st.lists(st.integers(-32_768, 32_767), min_size=12, max_size=90), st.integers(1, 12))
def test_an_envelope_has_the_extremes_of_each_part(samples: list[int], columns: int) -> None:
    found = envelope(np.array(samples, np.int16), columns)

    assert found.shape == (columns, 2)
    assert (found[:, 0] <= found[:, 1]).all()
    assert (found.min(), found.max()) == (min(samples), max(samples))


@given(st.lists(st.tuples(st.integers(-32_768, 0), st.integers(0, 32_767)), max_size=40))
def test_the_path_of_an_envelope_has_its_heights(extremes: list[tuple[int, int]]) -> None:
    drawn = sound(np.array(extremes, np.int16).reshape(-1, 2), 100, 50)
    loudest = max((max(-low, high) for low, high in extremes), default=0) or 1
    found, x, y = {}, 100, 50
    for across, down, height in re.findall(r"m(-?\d+) (-?\d+)v(\d+)", drawn):
        x, y = x + int(across), y + int(down)
        found[x - 100] = (y, y + int(height))
        y += int(height)

    assert found == {
        column: (50 - round(high * scale), 50 - round(low * scale))
        for scale in [LANE / 2 / loudest]
        for column, (low, high) in enumerate(extremes)
        if round(low * scale) < round(high * scale)
    }


def test_each_wait_has_its_label_and_the_slowest_is_bold() -> None:
    cut = Wait(3, "bye", 18.0, 25.0, "timeout:first_delta")
    svg = waveform(CALL._replace(waits=(*CALL.waits, cut)), 0).svg().replace("\u00a0", " ")

    assert re.search(r'class="lab" [^>]*>1,270 ms<', svg)
    assert re.search(r'class="dl" [^>]*>2,650 ms<', svg)
    assert re.search(r'class="dl bad" [^>]*>timeout:first_delta<', svg)
    assert svg.count('class="wait"') == 2
    assert svg.count('class="failed-band"') == 1


def test_labels_of_short_waits_do_not_overlap() -> None:
    waits = tuple(Wait(turn, "hum", turn, turn + 0.4) for turn in range(1, 5))
    svg = waveform(CALL._replace(slowest=waits[0], waits=waits, end_s=40.0), 0).svg()
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="(?:lab|dl)" [^>]*>400', svg)

    assert [y for _, y in labels] == ["32.0", "16.0", "32.0", "16.0"]
