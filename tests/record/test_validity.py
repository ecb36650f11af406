"""The validity checks with values at their limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.catalogue.columns import TURN_ARRIVALS, TURN_SENDS
from bench.catalogue.metrics import CATALOGUE, HEADLINE, Metric
from bench.record import validity_data
from bench.record.document import UncertainMetric
from bench.record.finalize import finalize
from bench.record.folder import SCHEMAS, row_reader
from bench.record.histograms import HistogramKey, Histograms, worst_p99_ms
from bench.record.rtp_streams import RtpStreams
from bench.record.validity import MORE_PROCESSES, MetricUncertainty, ValidityData, evaluate_checks
from bench.record.validity_data import bounds_of_rows, metric_uncertainties
from tests.helpers import AT_NS, MS, at, build_observation, build_session
from tests.record.builders import build_run, kill, labels, leave

STATUS = {True: "valid", False: "invalid", None: "no_verdict"}
RESULT = {True: "pass", False: "fail", None: "not_evaluated"}

BEST: dict[str, Any] = {
    "user_stamps_share": 0.0,
    "event_loop_delay_p99": 0.0,
    "send_delay_p99": 0.0,
    "chunk": 100.0,
    "paced_audio": True,
}


def verdict(
    *metrics: MetricUncertainty,
    error_p99: float | None = 0.0,
    p50: float | None = 50.0,
    **changes: Any,
) -> Any:
    """Return the verdict from these metrics, which may belong to several targets.

    If no metric is given, use the `ttfa` of one target.
    """
    return evaluate_checks(
        ValidityData(
            metrics or (MetricUncertainty("one", "ttfa", error_p99, p50),), **BEST | changes
        )
    )


def results(**changes: Any) -> dict[str, str]:
    return {check.name: check.result for check in verdict(**changes).checks}


@pytest.mark.parametrize(
    ("check", "changes", "ok"),
    [
        ("timestamp_uncertainty", {"error_p99": 1.0}, True),
        ("timestamp_uncertainty", {"error_p99": 1.001}, False),
        ("timestamp_uncertainty", {"error_p99": 1.001, "p50": 100.0}, False),
        ("timestamp_uncertainty", {"error_p99": 5.0, "p50": 500.0}, True),
        ("timestamp_uncertainty", {"error_p99": 5.01, "p50": 500.0}, False),
        ("timestamp_uncertainty", {"error_p99": 1.001, "p50": None}, False),
        ("timestamp_uncertainty", {"error_p99": None}, None),
        ("event_loop_delay", {"user_stamps_share": 0.01, "event_loop_delay_p99": 900.0}, None),
        ("event_loop_delay", {"user_stamps_share": 0.011, "event_loop_delay_p99": 5.0}, True),
        ("event_loop_delay", {"user_stamps_share": 0.011, "event_loop_delay_p99": 5.001}, False),
        (
            "event_loop_delay",
            {"user_stamps_share": 1.0, "event_loop_delay_p99": 25.0, "p50": 500.0},
            True,
        ),
        (
            "event_loop_delay",
            {"user_stamps_share": 1.0, "event_loop_delay_p99": 25.01, "p50": 500.0},
            False,
        ),
        ("event_loop_delay", {"user_stamps_share": None, "event_loop_delay_p99": 900.0}, None),
        ("event_loop_delay", {"user_stamps_share": 1.0, "event_loop_delay_p99": None}, None),
        ("send_delay", {"send_delay_p99": 50.0}, True),
        ("send_delay", {"send_delay_p99": 50.001}, False),
        ("send_delay", {"send_delay_p99": 10.0, "chunk": 20.0}, True),
        ("send_delay", {"send_delay_p99": 10.001, "chunk": 20.0}, False),
        ("send_delay", {"send_delay_p99": 900.0, "chunk": None, "paced_audio": False}, None),
        ("send_delay", {"send_delay_p99": None, "paced_audio": False}, None),
        ("send_delay", {"send_delay_p99": float("nan")}, None),
    ],
)
def test_a_check_passes_up_to_its_limit(
    check: str, changes: dict[str, Any], ok: bool | None
) -> None:
    assert results(**changes)[check] == RESULT[ok]
    assert (
        verdict(**changes).status
        == STATUS[None if changes.get("error_p99", 0) is None else ok is not False]
    )


VALID: dict[str, tuple[list[MetricUncertainty], dict[str, Any], bool | None]] = {
    "paced audio without a send delay gives no verdict": ([], {"send_delay_p99": None}, None),
    "another failed check makes it invalid": (
        [],
        {"send_delay_p99": None, "error_p99": 9.0},
        False,
    ),
    "a failed check makes a run without turns invalid": (
        [],
        {"error_p99": None, "send_delay_p99": 99.0},
        False,
    ),
    "targets without values give no verdict": (
        [MetricUncertainty("a", "ttfa", None, None), MetricUncertainty("b", "ttfa", None, None)],
        {},
        None,
    ),
    **{
        f"{name} is judged": ([MetricUncertainty("sim", name, 30.0, 400.0)], {}, False)
        for name in HEADLINE
    },
}


@pytest.mark.parametrize(("metrics", "changes", "valid"), VALID.values(), ids=VALID)
def test_a_run_is_valid_if_all_checks_pass_and_has_a_verdict_if_all_are_known(
    metrics: list[MetricUncertainty], changes: dict[str, Any], valid: bool | None
) -> None:
    assert verdict(*metrics, **changes).status == STATUS[valid]


def test_a_run_without_a_measured_turn_has_no_verdict() -> None:
    unknown: dict[str, Any] = dict.fromkeys(BEST) | {"paced_audio": False}
    found = evaluate_checks(ValidityData((), **unknown))

    assert found.status == "no_verdict"
    assert {check.result for check in found.checks} == {"not_evaluated"}


def test_the_validity_has_the_metric_its_limit_and_a_remedy() -> None:
    found = verdict(MetricUncertainty("sim", "ttfa", 7.5, 50.0))
    (check,) = [check for check in found.checks if check.result == "fail"]

    assert found.uncertain_metrics == [UncertainMetric("sim", "ttfa", 7.5, 1.0, "ms")]
    assert (check.name, check.value, check.limit) == ("timestamp_uncertainty", 7.5, 1.0)
    assert check.unit == "ms"
    assert check.remedy


# Several targets.


def uncertainty_check(*metrics: MetricUncertainty) -> Any:
    return verdict(*metrics).checks[0]


FAST, SLOW = (
    MetricUncertainty("fast", "ttfa", 3.0, 200.0),
    MetricUncertainty("slow", "ttfa", 6.0, 1_000.0),
)


@pytest.mark.parametrize("targets", [(FAST, SLOW), (SLOW, FAST)])
def test_the_limit_of_a_fast_target_does_not_depend_on_a_slow_one(
    targets: tuple[MetricUncertainty, ...],
) -> None:
    check = uncertainty_check(*targets)

    assert (check.value, check.limit, check.result) == (3.0, 2.0, "fail")
    assert check.note == "ttfa of fast"
    assert verdict(*targets).status == "invalid"


def test_turns_measured_from_different_instants_have_separate_limits() -> None:
    typed, spoken = (
        MetricUncertainty("one", "ttfa", 3.0, 200.0, measured_from="request_sent"),
        MetricUncertainty("one", "ttfa", 3.0, 900.0, measured_from="speech_end"),
    )
    found = verdict(typed, spoken)

    assert (found.checks[0].limit, found.checks[0].result) == (2.0, "fail")
    assert found.checks[0].note == "ttfa from request_sent"
    assert [(entry.metric, entry.limit) for entry in found.uncertain_metrics] == [("ttfa", 2.0)]


# Several metrics.


WELL = MetricUncertainty("sim", "ttfa", 0.0, 500.0)
INEXACT: dict[str, tuple[list[MetricUncertainty], bool, list[tuple[str, float | None, float]]]] = {
    # (metrics, whether the run is valid, the name, uncertainty and limit of each uncertain metric)
    "a headline metric": (
        [MetricUncertainty("sim", "ttfa", 9.0, 500.0)],
        False,
        [("ttfa", 9.0, 5.0)],
    ),
    "another metric than the headline leaves the run valid": (
        [
            WELL,
            MetricUncertainty("sim", "response_total", 30.0, 2_000.0),
            MetricUncertainty("sim", "end_of_turn_delay", 1.0, 40.0),
        ],
        True,
        [("response_total", 30.0, 20.0)],
    ),
    "an infinite bound of audio_speed has no value": (
        [WELL, MetricUncertainty("sim", "audio_speed", float("inf"), 2.0, "×")],
        True,
        [("audio_speed", None, 0.02)],
    ),
    "an unknown bound is not listed": (
        [WELL, MetricUncertainty("sim", "stall_duration", None, 0.0)],
        True,
        [],
    ),
}


@pytest.mark.parametrize(("metrics", "valid", "listed"), INEXACT.values(), ids=INEXACT)
def test_uncertain_metrics_are_listed(
    metrics: list[MetricUncertainty], valid: bool, listed: list[tuple[str, float | None, float]]
) -> None:
    found = verdict(*metrics)

    assert found.status == STATUS[valid]
    assert [(entry.metric, entry.value, entry.limit) for entry in found.uncertain_metrics] == listed


def test_a_start_delay_of_the_load_generator_makes_a_run_invalid() -> None:
    on_time = verdict(start_delay_p99=4.9, service_time_p50=60.0)
    slow_service = verdict(start_delay_p99=40.0, service_time_p50=900.0)
    late = verdict(start_delay_p99=5.1, service_time_p50=60.0)

    assert (on_time.status, slow_service.status, late.status) == ("valid", "valid", "invalid")
    (check,) = [check for check in late.checks if check.result == "fail"]
    assert (check.name, check.value, check.limit) == ("start_delay", 5.1, 5.0)


# Audio that is sent late.

VOICE = MetricUncertainty("sim", "voice_to_voice", 0.1, 1_200.0)
SPOKEN = MetricUncertainty("sim", "ttfa", 0.1, 700.0, measured_from="speech_end")
TYPED = MetricUncertainty("sim", "ttfa", 0.1, 700.0, measured_from="request_sent")
NONE_SUCCEEDED = MetricUncertainty("sim", "ttfa", 0.1, None, measured_from="speech_end")
SEND_LIMITS: dict[str, tuple[tuple[MetricUncertainty, ...], float, float, str]] = {
    # (metrics, duration of a chunk; the limit, and its note)
    "frames of a telephone": ((VOICE,), 20.0, 10.0, "half a chunk"),
    "a service that detects the end of speech": ((VOICE, SPOKEN), 100.0, 7.0, "the limit of ttfa"),
    "a reply to a request is not delayed": (
        (VOICE, TYPED),
        100.0,
        12.0,
        "the limit of voice_to_voice",
    ),
    "a metric without a value has no limit": ((NONE_SUCCEEDED,), 100.0, 50.0, "half a chunk"),
    "a metric that is not a headline metric has no limit": (
        (VOICE, MetricUncertainty("sim", "end_of_turn_delay", 0.1, 500.0)),
        100.0,
        12.0,
        "the limit of voice_to_voice",
    ),
}


@pytest.mark.parametrize(
    ("metrics", "chunk", "limit", "note"), SEND_LIMITS.values(), ids=SEND_LIMITS
)
def test_the_limit_of_late_audio_is_the_smallest_of_what_it_affects(
    metrics: tuple[MetricUncertainty, ...], chunk: float, limit: float, note: str
) -> None:
    (check,) = (
        one
        for one in verdict(*metrics, chunk=chunk, send_delay_p99=1.0).checks
        if one.name == "send_delay"
    )

    assert (check.limit, check.note) == (limit, note)


FRAMES = 1_500
"""The frames of a call of 30 s."""


@example(usual_ms=0.5, stall_ms=16.0, stalled=0.04, path_ms=10.0, p50=2_500.0, silence=25, seed=0)
@example(usual_ms=2.0, stall_ms=0.0, stalled=0.0, path_ms=0.0, p50=300.0, silence=25, seed=0)
@given(
    usual_ms=st.floats(0.05, 12),
    stall_ms=st.floats(0, 120),
    stalled=st.floats(0, 0.05),
    path_ms=st.floats(0, 10),
    p50=st.floats(150, 3_000),
    silence=st.integers(10, 40),
    seed=st.integers(0, 9),
)
def test_a_run_is_invalid_if_late_audio_is_heard_or_moves_values_and_only_then(
    usual_ms: float,
    stall_ms: float,
    stalled: float,
    path_ms: float,
    p50: float,
    silence: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    sent_ms = rng.exponential(usual_ms, FRAMES) + stall_ms * (rng.random(FRAMES) < stalled)
    recorded = Histograms()
    recorded.record_all(HistogramKey("send_delay", "sim"), (sent_ms * 1_000).astype(np.int64))
    voice = MetricUncertainty("sim", "voice_to_voice", 0.1, p50)
    found = verdict(voice, chunk=20.0, send_delay_p99=worst_p99_ms(recorded, "send_delay"))

    # The jitter buffer of the agent holds one frame. Its VAD waits for `silence` frames.
    late_ms = sent_ms + rng.uniform(0, path_ms, FRAMES)
    missed = np.mean(late_ms - late_ms.min() > 20)
    moved = np.mean(np.abs(sent_ms[silence:] - sent_ms[:-silence]) > voice.limit)
    if missed > 0.01 or moved > 0.02 * FRAMES / (FRAMES - silence):
        assert found.status == "invalid"
    if np.mean(sent_ms > 0.998 * min(10, voice.limit)) <= 0.01:
        assert found.status == "valid"


# Several hosts, and the parts of a merged run.


def of_host(host: str, error_p99: float = 0.0, **changes: Any) -> ValidityData:
    return ValidityData(
        (MetricUncertainty("one", "ttfa", error_p99, 50.0, host=host),),
        **BEST | {"host": host} | changes,
    )


def test_a_failed_check_names_its_host() -> None:
    verdict = evaluate_checks(
        of_host(""), of_host("red", error_p99=3.0), of_host("blue", send_delay_p99=51.0)
    )
    failed = {check.name: check.note for check in verdict.checks if check.result == "fail"}
    assert failed == {
        "timestamp_uncertainty": "ttfa, on red",
        "send_delay": "half a chunk, on blue",
    }
    assert verdict.status == "invalid"
    assert [entry.host for entry in verdict.uncertain_metrics] == ["red"]


def test_an_unknown_send_delay_of_a_host_gives_no_verdict() -> None:
    assert evaluate_checks(of_host(""), of_host("red", send_delay_p99=None)).status == "no_verdict"


MERGE = "merge the missing data when it is available, or repeat the run"
REMEDY = "raise the limit"
PREVENTED: dict[str, Any] = {"prevented_remedy": REMEDY, "send_delay_p99": 0.0}
SHARES: dict[str, tuple[dict[str, Any], str, float | None, bool, str]] = {
    # (shares of turns; the check, its value, whether the run is valid, and the remedy)
    "one percent may be starved": (
        {"starved_share": 0.01},
        "missing_data",
        1.0,
        True,
        MORE_PROCESSES,
    ),
    "more starved": ({"starved_share": 0.0101}, "missing_data", 1.01, False, MORE_PROCESSES),
    "one percent may be missing": ({"missing_share": 0.01}, "missing_data", 1.0, True, MERGE),
    "more missing": ({"missing_share": 0.0101}, "missing_data", 1.01, False, MERGE),
    "an unknown share missing": (
        {"missing_share": float("nan")},
        "missing_data",
        None,
        False,
        MERGE,
    ),
    "starved and missing shares are added": (
        {"starved_share": 0.006, "missing_share": 0.006},
        "missing_data",
        1.2,
        False,
        f"{MERGE}; {MORE_PROCESSES}",
    ),
    "one percent may be prevented by a limit of this machine": (
        {"prevented_share": 0.01} | PREVENTED,
        "own_limits",
        1.0,
        True,
        REMEDY,
    ),
    "more prevented": (
        {"prevented_share": 0.0101} | PREVENTED,
        "own_limits",
        1.01,
        False,
        REMEDY,
    ),
    "one percent may have dropped packets": (
        {"dropped_share": 0.01},
        "dropped_packets",
        1.0,
        True,
        MORE_PROCESSES,
    ),
    "more with dropped packets": (
        {"dropped_share": 0.0101},
        "dropped_packets",
        1.01,
        False,
        MORE_PROCESSES,
    ),
}


@pytest.mark.parametrize(
    ("shares", "name", "value", "valid", "remedy"), SHARES.values(), ids=SHARES
)
def test_a_run_is_invalid_if_this_machine_is_the_cause_of_more_than_one_percent(
    shares: dict[str, Any], name: str, value: float | None, valid: bool, remedy: str
) -> None:
    verdict = evaluate_checks(of_host("", **shares))
    (check,) = (check for check in verdict.checks if check.name == name)

    assert (check.value, check.result, check.remedy) == (value, RESULT[valid], remedy)
    assert verdict.status == STATUS[valid]


def test_a_limit_of_this_machine_that_prevented_no_call_is_not_checked() -> None:
    verdict = evaluate_checks(of_host("", prevented_share=0.0, **PREVENTED))

    assert "own_limits" not in {check.name for check in verdict.checks}
    assert verdict.status == "valid"


def test_the_limit_of_this_machine_is_the_first_reason_of_a_run_without_a_turn() -> None:
    verdict = evaluate_checks(
        ValidityData((), **BEST, prevented_share=1.0, prevented_remedy=REMEDY)
    )

    assert (verdict.status, verdict.reasons) == ("invalid", ["own_limits"])


# The uncertainty of metrics in rows, and the uncertainty in the verdict of a recorded run.


STORED = Path(__file__).parents[1] / "reports" / "stored"
BETWEEN = [one for one in CATALOGUE.values() if one.scope == "turn" and one.end in TURN_ARRIVALS]
NAMES = st.sampled_from([*TURN_ARRIVALS, *TURN_SENDS])
OFFSETS = st.integers(0, 50 * MS)


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS["turns"])


def bound_of(name: str, **row: Any) -> float:
    return float(validity_data.row_bounds(table(row), CATALOGUE[name])[0])


# One metric.


@given(st.sampled_from(BETWEEN), st.dictionaries(NAMES, OFFSETS), st.data())
def test_the_true_value_is_within_the_bound(
    metric: Metric, slack: dict[str, int], data: Any
) -> None:
    """An arrival may really have been earlier, and a send later; the clock of the load generator
    is exact.
    """
    start, end = metric.begins[0], metric.end
    ranges = {name: (-slack.get(name, 0), 0) for name in TURN_ARRIVALS}
    ranges |= {name: (0, slack.get(name, 0)) for name in TURN_SENDS}
    began, ended = (data.draw(st.integers(*ranges.get(name, (0, 0)))) for name in (start, end))
    turn = build_observation(
        instants={start: AT_NS, end: AT_NS},
        uncertainties_ns={name: slack.get(name, 0) for name in TURN_ARRIVALS},
        widths_ns={name: slack.get(name, 0) for name in TURN_SENDS},
    )

    assert abs(ended - began) <= turn.bound_ns(metric)


def test_an_unknown_send_uncertainty_gives_an_unknown_bound() -> None:
    typed = {
        "request_sent_at_ns": 0,
        "first_audio_at_ns": 500 * MS,
        "first_audio_uncertainty_ns": MS,
    }
    turn = build_observation(uncertainties_ns={"first_audio": MS}, widths_ns={})

    assert np.isnan(bound_of("ttfa", **typed))
    assert np.isnan(
        bound_of(
            "ttfa", speech_end_at_ns=0, first_audio_at_ns=500 * MS, first_audio_uncertainty_ns=MS
        )
    )
    assert turn.bound_ns(CATALOGUE["ttfa"]) is None


# Runs.

EXACT = {"first_audio": 0, "first_transcript": 0, "transcript_done": 0, "response_done": 0}


def test_more_than_one_percent_of_unknown_bounds_give_no_verdict(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number in range(100):
        widths_ns = {"request_sent": 0} if number > 1 else {}
        recorder.session(labels(number)).turn_ended(
            build_observation(uncertainties_ns=EXACT, widths_ns=widths_ns)
        )
    recorder.close()
    verdict = finalize(folder)["validity"]

    assert verdict["status"] == "no_verdict"
    assert (verdict["checks"][0]["result"], verdict["checks"][0]["value"]) == (
        "not_evaluated",
        None,
    )
    assert (
        verdict["checks"][0]["note"]
        == "the uncertainty of ttfa is unknown in more than 1 % of its turns"
    )


def test_turns_measured_from_different_instants_have_separate_bounds(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number in range(20):
        late = {"first_audio": 6 * MS}
        typed = build_observation(uncertainties_ns=EXACT | late, widths_ns={"request_sent": 0})
        spoken = build_observation(
            instants={"speech_end": AT_NS, "first_audio": AT_NS + 900 * MS},
            uncertainties_ns=late,
            widths_ns={"speech_end": 0},
        )
        recorder.session(labels(number)).turn_ended(typed if number % 2 else spoken)
    recorder.close()
    leave(folder)

    typed_ttfa, spoken_ttfa = (
        one for one in metric_uncertainties(row_reader(folder)) if one.metric == "ttfa"
    )
    assert (typed_ttfa.measured_from, typed_ttfa.exact) == ("request_sent", False)
    assert (spoken_ttfa.measured_from, spoken_ttfa.p50, spoken_ttfa.exact) == (
        "speech_end",
        900.0,
        True,
    )
    assert finalize(folder)["validity"]["checks"][0]["note"] == "ttfa from request_sent"


@pytest.mark.parametrize("end", [leave, kill])
def test_transcripts_that_share_reads_are_uncertain_and_make_only_a_run_without_audio_invalid(
    tmp_path: Path, end: Any
) -> None:
    def verdict(name: str, **instants: Any) -> dict[str, Any]:
        folder, (recorder,) = build_run(tmp_path / name)
        for number in range(100):
            shared = {"first_transcript": 30 * MS} if number % 10 == 0 else {}
            recorder.session(labels(number)).turn_ended(
                build_observation(
                    uncertainties_ns=EXACT | shared, widths_ns={"request_sent": 0}, **instants
                )
            )
        recorder.close()
        end(folder)
        return finalize(folder)["validity"]

    with_audio = verdict("audio")
    without_audio = verdict(
        "transcripts",
        instants={
            "request_sent": at(1),
            "first_transcript": at(400),
            "transcript_done": at(1_450),
            "ended": at(1_501),
        },
    )

    for found, status, decides in (
        (with_audio, "valid", "ttfa"),
        (without_audio, "invalid", "transcript_first"),
    ):
        assert (found["status"], found["checks"][0]["note"]) == (status, decides)
        uncertain = [(one["target"], one["metric"]) for one in found["uncertain_metrics"]]
        assert ("simulator", "transcript_first") in uncertain
    assert (without_audio["checks"][0]["value"], without_audio["checks"][0]["limit"]) == (
        30.0,
        3.99,
    )


EXACT_TURN = build_observation(uncertainties_ns=EXACT)
HEARD = {"speech_end": at(0), "first_audible": at(1_000), "ended": at(2_000)}
LATE = {"uncertainties_ns": {"first_audible": 99 * MS}, "widths_ns": {"speech_end": 0}}
FAILED = build_observation(outcome="failed:x", uncertainties_ns=EXACT | {"first_audio": 99 * MS})
UNREADY = build_session(uncertainties_ns={"session_created": 9 * MS, "opened": 0})
INEXACT_RUNS: dict[str, tuple[list[Any], list[Any], bool, list[str]]] = {
    # (turns, sessions; whether the run is valid, the names of the uncertain metrics)
    "an uncertain response end leaves the run valid": (
        [build_observation(uncertainties_ns=EXACT | {"response_done": 99 * MS})],
        [],
        True,
        ["response_total"],
    ),
    # The load generator is not the bottleneck if a voice cannot be distinguished from the noise
    # behind it.
    "an onset in noise does not make a run invalid": (
        [build_observation(instants=HEARD, onset_uncertainty_ns=99 * MS, **LATE)],
        [],
        True,
        ["voice_to_voice"],
    ),
    "a late onset makes a run invalid": (
        [build_observation(instants=HEARD, onset_uncertainty_ns=50 * MS, **LATE)],
        [],
        False,
        ["voice_to_voice"],
    ),
    "a failed turn makes no metric uncertain": ([EXACT_TURN, FAILED], [], True, []),
    "a session metric can be uncertain": ([EXACT_TURN], [UNREADY], True, ["session_ready"]),
}


@pytest.mark.parametrize(
    ("ended", "over", "valid", "inexact"), INEXACT_RUNS.values(), ids=INEXACT_RUNS
)
def test_uncertain_metrics_are_reported_and_make_some_runs_invalid(
    tmp_path: Path, ended: list[Any], over: list[Any], valid: bool, inexact: list[str]
) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number, turn in enumerate(ended):
        recorder.session(labels(number)).turn_ended(turn)
    for session in over:
        recorder.session(labels(1)).session_ended(session)
    recorder.close()
    verdict = finalize(folder)["validity"]

    assert verdict.keys() == {"status", "reasons", "checks", "uncertain_metrics"}
    assert (verdict["status"], [one["metric"] for one in verdict["uncertain_metrics"]]) == (
        "valid" if valid else "invalid",
        inexact,
    )


def test_each_p99_bound_is_at_most_the_largest_bound_of_a_row() -> None:
    known = {
        (metric.target, metric.metric): metric.bound_p99
        for metric in metric_uncertainties(row_reader(STORED))
        if CATALOGUE[metric.metric].scope == "turn" and metric.bound_p99 is not None
    }
    assert known
    assert all(
        np.nanmax(bounds_of_rows(STORED, CATALOGUE[name])) >= p99
        for (_, name), p99 in known.items()
    )


STREAMS = {
    "restarts": (RtpStreams(3.0, 9.0, 9.0), "began again 3 ×", "keep one RTP stream"),
    "pauses": (RtpStreams(0.1, 12.5, 9.0), "stopped 12.5 ×", "timestamps count its pauses"),
    "jitter": (RtpStreams(0.0, 0.4, 9.0), "irregular (jitter 9 ms)", "send its packets by a clock"),
    "neither": (RtpStreams(), "first RTP packets", "packets of silence from its answer on"),
}


@pytest.mark.parametrize(("streams", "prop", "remedy"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("busy", ["", "other programs use this machine"])
def test_an_agent_whose_rtp_is_uncertain_is_named_with_the_property_and_what_its_owner_can_do(
    streams: RtpStreams, prop: str, remedy: str, busy: str
) -> None:
    reply = MetricUncertainty("agent", "voice_to_voice", 20.4, 581.0, sends_p99=0.2)
    found = verdict(reply, streams={"agent": streams}, busy_reason=busy)
    (failed,) = (check for check in found.checks if check.result == "fail")

    assert (found.status, failed.name, failed.value, failed.limit) == (
        "invalid",
        "rtp_stream",
        20.4,
        5.81,
    )
    assert failed.note.startswith("voice_to_voice: the agent's ")
    assert prop in failed.note
    assert remedy in failed.remedy
    assert MORE_PROCESSES not in failed.remedy
    assert busy not in failed.remedy or not busy


def test_late_sends_in_a_call_with_rtp_are_a_fault_of_the_load_generator() -> None:
    reply = MetricUncertainty("agent", "voice_to_voice", 7.0, 581.0, sends_p99=6.0)
    found = verdict(reply, streams={"agent": RtpStreams()})

    assert [check.name for check in found.checks if check.result == "fail"] == [
        "timestamp_uncertainty",
        "rtp_stream",
    ]


def test_the_rtp_of_one_target_does_not_excuse_the_timestamps_of_another() -> None:
    service = MetricUncertainty("service", "voice_to_voice", 20.0, 500.0)
    agent = MetricUncertainty("agent", "voice_to_voice", 1.0, 500.0, sends_p99=0.0)
    found = verdict(service, agent, streams={"agent": RtpStreams()})

    assert {check.name: check.result for check in found.checks}["rtp_stream"] == "pass"
    assert found.reasons == ["timestamp_uncertainty"]


def test_a_run_without_rtp_has_no_check_of_it() -> None:
    assert "rtp_stream" not in results()


def test_the_streams_of_a_target_are_those_of_its_calls_with_packets() -> None:
    calls = [
        {
            "target": "agent",
            "rtp_expected": 500,
            "rtp_restarts": n,
            "rtp_uncounted_pauses": 2 * n,
            "rtp_jitter_ns": n * MS,
        }
        for n in (1, 2, 3)
    ]
    without = {"target": "service"} | dict.fromkeys(validity_data.RTP_COLUMNS)
    rows = pa.Table.from_pylist([*calls, without])

    assert validity_data._rtp_streams(rows) == {"agent": RtpStreams(2.0, 4.0, 2.0)}
