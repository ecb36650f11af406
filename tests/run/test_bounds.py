"""How far measures of rows can be off, and whether a run that was recorded says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.columns import TURN_ARRIVALS, TURN_SENDS
from bench.metrics import CATALOGUE, Slack, bound_ns
from bench.run import evidence, measured
from bench.run.close import close
from bench.run.evidence import exactness, worst_bound
from bench.run.folder import SCHEMAS
from tests.helpers import AT_NS, MS, at, build_observation, build_session, row_of
from tests.run.test_close import build_run, kill, labels, leave

STORED = Path(__file__).parents[1] / "reports" / "stored"
BETWEEN = [one for one in CATALOGUE.values() if one.scope == "turn" and one.end in TURN_ARRIVALS]
NAMES = st.sampled_from([*TURN_ARRIVALS, *TURN_SENDS])
OFFSETS = st.integers(0, 50 * MS)


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS["turns"])


def of(name: str, **row: Any) -> float:
    return float(evidence.row_bounds(table(row), CATALOGUE[name])[0])


# One metric.


@given(st.tuples(OFFSETS, OFFSETS), st.tuples(OFFSETS, OFFSETS), st.data())
def test_what_it_really_was_lies_within_the_bound(begin: Slack, end: Slack, data: Any) -> None:
    began, ended = (data.draw(st.integers(-earlier, later)) for earlier, later in (begin, end))

    assert abs(ended - began) <= bound_ns(begin, end)


def test_a_bound_is_reached() -> None:
    assert bound_ns((0, 9), (30, 0)) == 39  # the request left later, the answer came earlier
    assert bound_ns((50, 0), (30, 0)) == 50


@given(st.dictionaries(NAMES, st.tuples(OFFSETS, st.none() | OFFSETS)))
def test_a_table_says_what_a_turn_says(instants: dict[str, tuple[int, int | None]]) -> None:
    errors = {name: slack for name, (_, slack) in instants.items() if name in TURN_ARRIVALS and slack is not None}
    widths = {name: slack for name, (_, slack) in instants.items() if name in TURN_SENDS and slack is not None}
    turn = build_observation(
        instants={name: AT_NS + after for name, (after, _) in instants.items()}, errors_ns=errors, widths_ns=widths
    )
    row = table(row_of(turn) | {"timestamp_uncertainty_ns": None})

    for metric in BETWEEN:
        found = evidence.row_bounds(row.select(evidence.bound_columns(metric)), metric)[0]
        value_ns = measured.values_ns(row.select(list(metric.columns)).to_pandas(), metric)[0]
        said = turn.bound_ns(metric)
        if not np.isnan(value_ns):
            assert (None if np.isnan(found) else round(found * MS)) == said


def test_every_metric_that_hangs_on_an_arrival_has_a_bound() -> None:
    without = {one.name for one in CATALOGUE.values() if one.scope == "turn" and not evidence.bound_columns(one)}

    assert without == {"vad_splits", "network_rtt", "retransmits", "stall_count", "barge_in_late_audio", "cached_share"}


def test_a_width_that_nobody_knows_is_no_width_of_nothing() -> None:
    typed = {"request_sent_at_ns": 0, "first_audio_at_ns": 500 * MS, "first_audio_uncertainty_ns": MS}
    turn = build_observation(errors_ns={"first_audio": MS}, widths_ns={})

    assert np.isnan(of("ttfa", **typed))
    assert np.isnan(of("ttfa", speech_end_at_ns=0, first_audio_at_ns=500 * MS, first_audio_uncertainty_ns=MS))
    assert turn.bound_ns(CATALOGUE["ttfa"]) is None


def test_the_width_is_that_of_the_send_that_the_turn_counts_from() -> None:
    spoken = {"speech_end_at_ns": 0, "speech_end_uncertainty_ns": 4 * MS, "first_audio_uncertainty_ns": MS}

    assert of("ttfa", **spoken) == 5.0
    assert of("ttfa", **spoken, request_sent_at_ns=MS, request_sent_uncertainty_ns=2 * MS) == 3.0


@pytest.mark.parametrize(
    ("first_error_ms", "last_error_ms", "bound"), [(0, 0, 0.0), (0, 100, 2 / 9), (100, 0, 2 / 11), (0, 1_000, np.inf)]
)
def test_a_speed_is_off_by_what_its_time_is(first_error_ms: int, last_error_ms: int, bound: float) -> None:
    row = {"first_audio_at_ns": 0, "last_audio_at_ns": 1_000 * MS, "audio_speed": 2.0}
    errors = {"first_audio_uncertainty_ns": first_error_ms * MS, "last_audio_uncertainty_ns": last_error_ms * MS}

    assert of("audio_speed", **row, **errors) == pytest.approx(bound)


# Runs.

EXACT = {"first_audio": 0, "first_transcript": 0, "transcript_done": 0, "response_done": 0}


def test_where_more_than_one_in_a_hundred_bounds_are_unknown_a_run_is_not_judged_by_the_others(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number in range(100):
        widths_ns = {"request_sent": 0} if number > 1 else {}
        recorder.session(labels(number)).turn_ended(build_observation(errors_ns=EXACT, widths_ns=widths_ns))
    recorder.close()
    verdict = close(folder)["validity"]

    assert verdict["status"] == "no_verdict"
    assert (verdict["checks"][0]["result"], verdict["checks"][0]["value"]) == ("not_evaluated", None)
    assert verdict["checks"][0]["note"] == (
        "unknown: how far ttfa, transcript_first, transcript_total can be off, of more than 1 % of its turns"
    )


def test_turns_that_count_from_another_instant_are_bounded_apart(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number in range(20):
        late = {"first_audio": 6 * MS}
        typed = build_observation(errors_ns=EXACT | late, widths_ns={"request_sent": 0})
        spoken = build_observation(
            instants={"speech_end": AT_NS, "first_audio": AT_NS + 900 * MS},
            errors_ns=late,
            widths_ns={"speech_end": 0},
        )
        recorder.session(labels(number)).turn_ended(typed if number % 2 else spoken)
    recorder.close()
    leave(folder)

    (typed_ttfa, spoken_ttfa) = (one for one in exactness(folder) if one.metric == "ttfa")
    assert (typed_ttfa.measured_from, typed_ttfa.exact) == ("request_sent", False)
    assert (spoken_ttfa.measured_from, spoken_ttfa.p50, spoken_ttfa.exact) == ("speech_end", 900.0, True)
    assert close(folder)["validity"]["checks"][0]["note"] == "ttfa from request_sent"


@pytest.mark.parametrize("end", [leave, kill])
def test_a_run_whose_transcripts_shared_their_reads_is_invalid_by_its_transcript_latency(
    tmp_path: Path, end: Any
) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number in range(100):
        shared = {"first_transcript": 30 * MS} if number % 10 == 0 else {}
        recorder.session(labels(number)).turn_ended(
            build_observation(errors_ns=EXACT | shared, widths_ns={"request_sent": 0})
        )
    recorder.close()
    end(folder)
    verdict = close(folder)["validity"]

    assert verdict["status"] == "invalid"
    assert verdict["checks"][0]["note"] == "transcript_first"
    assert (verdict["checks"][0]["value"], verdict["checks"][0]["limit"]) == (30.0, 3.99)
    assert [(one["target"], one["metric"]) for one in verdict["uncertain_metrics"]] == [
        ("simulator", "transcript_first"),
        ("simulator", "transcript_lead"),
    ]


WELL = build_observation(errors_ns=EXACT)
HEARD = {"speech_end": at(0), "first_audible": at(1_000), "ended": at(2_000)}
LATE = {"errors_ns": {"first_audible": 99 * MS}, "widths_ns": {"speech_end": 0}}
FAILED = build_observation(outcome="failed:x", errors_ns=EXACT | {"first_audio": 99 * MS})
UNREADY = build_session(errors_ns={"session_created": 9 * MS, "upgrade_done": 0})
INEXACT: dict[str, tuple[list[Any], list[Any], bool, list[str]]] = {
    # (turns and sessions; whether the run is valid, which measures are not exact)
    "a response whose end is not exact leaves the run valid":
        ([build_observation(errors_ns=EXACT | {"response_done": 99 * MS})], [], True, ["response_total"]),
    # The harness is no bottleneck where a voice cannot be told from what is behind it.
    "a begin that is found in noise makes no run invalid":
        ([build_observation(instants=HEARD, onset_uncertainty_ns=99 * MS, **LATE)], [], True, ["voice_to_voice"]),
    "one that is found late does":
        ([build_observation(instants=HEARD, onset_uncertainty_ns=50 * MS, **LATE)], [], False, ["voice_to_voice"]),
    "a failed turn makes no metric inexact": ([WELL, FAILED], [], True, []),
    "a metric of sessions can be inexact too": ([WELL], [UNREADY], True, ["session_ready"]),
}  # fmt: skip


@pytest.mark.parametrize(("ended", "over", "valid", "inexact"), INEXACT.values(), ids=INEXACT)
def test_what_is_not_exact_is_told_and_makes_some_runs_invalid(
    tmp_path: Path, ended: list[Any], over: list[Any], valid: bool, inexact: list[str]
) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number, turn in enumerate(ended):
        recorder.session(labels(number)).turn_ended(turn)
    for session in over:
        recorder.session(labels(1)).session_ended(session)
    recorder.close()
    verdict = close(folder)["validity"]

    assert verdict.keys() == {"status", "reasons", "checks", "uncertain_metrics"}
    assert (verdict["status"], [one["metric"] for one in verdict["uncertain_metrics"]]) == (
        "valid" if valid else "invalid",
        inexact,
    )


def test_the_bounds_of_a_row_are_those_of_its_turn() -> None:
    turn = build_observation(errors_ns=EXACT | {"first_audio": 5}, widths_ns={"request_sent": 9})
    row = row_of(turn)

    assert (
        row["first_audio_uncertainty_ns"],
        row["transcript_done_uncertainty_ns"],
        row["request_sent_uncertainty_ns"],
    ) == (5, 0, 9)
    assert row["timestamp_uncertainty_ns"] == 5
    assert at(0) == AT_NS


def test_no_bound_of_a_run_is_above_the_worst() -> None:
    known = {
        (metric.target, metric.metric): metric.bound_p99
        for metric in exactness(STORED)
        if CATALOGUE[metric.metric].scope == "turn" and metric.bound_p99 is not None
    }
    assert known
    assert all(worst_bound(STORED, CATALOGUE[name], target) >= p99 for (target, name), p99 in known.items())
