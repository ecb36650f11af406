"""What cannot be scored is not zero: it widens intervals, is stated, and passes no threshold.

`HALF` is the walk over all rates, and `LATENCIES` that over metrics: half of the turns that should
have a value have none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rtbench
from bench.catalogue.metrics import CATALOGUE, MIN_SPEECH_NS
from reports.analysis.check.absolute import limit_results
from reports.analysis.check.baselines import baseline_of
from reports.analysis.check.check import check_of
from reports.analysis.sequential.decide import interim_statistics
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.named import parse_targets, targets_of
from reports.analysis.trends.trend_point import points_of_run
from reports.data.runs import load_for_report, load_frames
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import RATES
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.thresholds import parse
from reports.pages.check.document import FORMATS
from reports.pages.check.report import check_page
from reports.statistics.differences import Inference
from reports.text.check_sentences import why
from reports.text.definitions import RATES as DEFINITIONS
from reports.text.notices import notices
from reports.text.reasons import BECAUSE
from rtbench.capacity.level_evaluation import Analysis, counts_of, known_counts
from rtbench.capacity.load_thresholds import ShareBounds
from tests.examples import some
from tests.reports import synthetic
from tests.reports.comparisons.build import quick, run
from tests.reports.edited import Row, edit
from tests.reports.forms import run_forms, run_text
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=60, turns=2, kinds=("manual",))
PAIRED = Plan(sessions=120, turns=2, kinds=("manual",), targets=("west", "east"), paired=True)
NBSP = "\N{NO-BREAK SPACE}"
HOLD = "any result of these is possible"


class Half(NamedTuple):
    """The columns of a turn without a bad event, and those of a turn that cannot be scored.
    `units` is the number of words of each turn; 1 for turns.
    """

    known: dict[str, Any]
    unscored: dict[str, Any]
    units: int = 1


FAILED = {"outcome": "closed:1006"}
WORDS = {"input_words": 4, "input_word_errors": 0, "input_characters": 0}
REPLY = {"reply_words": 6, "reply_word_errors": 0, "reply_characters": 0}
HALF = {
    "failure_rate": "each ended turn has an outcome",
    "throttle_rate": "each ended turn has an outcome",
    "abandonment_rate": "each ended turn has an outcome",
    "false_reply_rate": "what came after a sound is known when the next turn starts",
    "stall_rate": Half({"stall_count": 0, "received_audio_ns": 5}, {"received_audio_ns": 5}),
    "yield_rate": Half(
        {"interruption": "speech", "yielded": True}, {"interruption": "speech"} | FAILED
    ),
    "false_yield_rate": Half(
        {"interruption": "noise", "false_yield": False}, {"interruption": "noise"} | FAILED
    ),
    "truncation_correct_rate": Half(
        {"truncate_sent_at_ns": 5, "truncation_correct": True}, {"truncate_sent_at_ns": 5} | FAILED
    ),
    "cut_off_rate": Half({"cut_off": False}, FAILED),
    "crossed_audio_rate": Half({"caller_mark": 5, "crossed_audio": False}, {"caller_mark": 5}),
    "taken_for_mailbox_rate": Half(
        {"callee": "person", "taken_for_mailbox": False}, {"callee": "person"} | FAILED
    ),
    "taken_for_person_rate": Half(
        {"callee": "mailbox", "taken_for_person": False}, {"callee": "mailbox"}
    ),
    "early_message_rate": Half(
        {"callee": "mailbox", "spoke_before_beep": False}, {"callee": "mailbox"}
    ),
    "preamble_rate": Half({"preamble": False, "received_audio_ns": 5}, {"received_audio_ns": 5}),
    "mcp_failure_rate": Half({"mcp_calls": 1, "mcp_call_failed": False}, {"mcp_calls": 1} | FAILED),
    "returned_share": "tests/reports/test_returns.py",
    "task_success_rate": Half({"task_defined": True, "task_success": True}, {"task_defined": True}),
    "input_wer": Half(WORDS, WORDS | {"input_word_errors": None}, 4),
    "reply_wer": Half(REPLY, REPLY | {"reply_word_errors": None}, 6),
}
"""For each rate, how half of its turns are unscored, or why no turn can be."""
NOTHING = {
    **dict.fromkeys(("stall_count", "stall_duration_ns", "received_audio_ns")),
    **{rate.column: None for rate in RATES.values() if rate.column},
}
"""The columns of the synthetic rows that the table sets."""
UNSCORED = [name for name, half in HALF.items() if isinstance(half, Half)]


def halved(half: Half, target: str = "") -> Any:
    """Return a change after which one of the two turns of each session is unscored, and half of
    the turns of each step. If `target` is given, all turns of other targets are known.
    """

    def change(index: int, row: Row) -> Row:
        session, turn = divmod(index, 2)
        pair = session // 2 if target else session
        is_known = (pair + turn) % 2 == 0 or target not in ("", row["target"])
        return row | NOTHING | (half.known if is_known else half.unscored)

    return change


def half_of(name: str) -> Half:
    half = HALF[name]
    assert isinstance(half, Half), half
    return half


def halved_run(folder: Path, name: str) -> Path:
    synthetic.write(folder, PLAN)
    return edit(folder, "turns", halved(half_of(name)))


def limits(name: str) -> tuple[str, str]:
    """Return a limit that only the scored turns pass, and one that all results pass."""
    return ("rate>70%", "rate>30%") if RATES[name].better == "higher" else ("rate<30%", "rate<70%")


def judged(folder: Path, metric: str, condition: str) -> Any:
    (target,) = targets_of(load_frames(folder))
    (result,) = limit_results(parse(metric, condition), target)
    return result


def test_every_rate_has_a_row() -> None:
    assert HALF.keys() == RATES.keys()
    assert {*UNSCORED} == {name for name, rate in RATES.items() if rate.due}


@pytest.mark.parametrize("name", some([*UNSCORED], 5))
def test_a_rate_of_which_half_is_unscored_says_so_and_passes_only_what_holds_anyway(
    name: str, tmp_path: Path
) -> None:
    folder = halved_run(tmp_path, name)
    units = half_of(name).units
    n = 60 * units
    good = 1.0 if RATES[name].better == "higher" else 0.0
    summary = summarise(load_for_report(folder))
    value = next(each for each in (*summary.rates, *summary.counts) if each.metric == name)

    assert (value.value, value.n, value.unscored) == (good, n, n)
    # all scored turns are good; if all others are bad, it is a half, and that is not certain
    assert (
        (value.low < 0.5 and value.high > 0.95) if good else (value.low < 0.05 < 0.5 < value.high)
    )
    noun = value.unit
    (notice,) = (text for text in notices(summary) if text.startswith(f"{name}: "))
    assert notice.startswith(f"{name}: {n} of {2 * n}{NBSP}{noun} could not be scored")
    forms = run_forms(summary) if name == "reply_wer" else ()
    for text in (run_text(summary, 2_000), *forms):
        assert f"{n} of {2 * n}" in text.replace("\n", " ")
        assert f"{n} not scored" in text or name == "stall_rate"
    if name == "preamble_rate":  # neither direction is better, so it has no threshold
        return
    breakable, safe = limits(name)
    broken, held = (judged(folder, name, condition) for condition in (breakable, safe))
    stated = f"{n} of {2 * n}{NBSP}{noun} could not be scored: {HOLD}"
    assert (broken.result, why(broken)) == ("inconclusive", stated)
    assert held.result == "pass"
    assert stated in why(held)
    assert {one.counts.unscored for one in (broken, held)} == {n}


@pytest.mark.parametrize("name", ["task_success_rate", "input_wer"])
def test_a_rate_without_any_scored_turn_does_not_vanish(name: str, tmp_path: Path) -> None:
    half = half_of(name)
    synthetic.write(tmp_path, PLAN)
    edit(tmp_path, "turns", lambda index, row: row | NOTHING | half.unscored)
    summary = summarise(load_for_report(tmp_path))
    n = 120 * half.units
    result = judged(tmp_path, name, limits(name)[1])

    assert any(text.startswith(f"{name}: {n} of {n}") for text in notices(summary))
    assert f"{name} 0 of 0" in run_text(summary, 2_000).replace(NBSP, " ")
    assert result.result == "inconclusive"
    assert why(result).startswith(f"{n} of {n}{NBSP}")


def test_a_rate_fails_a_limit_that_no_score_of_the_others_could_pass(tmp_path: Path) -> None:
    half = Half({"task_defined": True, "task_success": False}, {"task_defined": True})
    synthetic.write(tmp_path, PLAN)
    edit(tmp_path, "turns", halved(half))

    assert judged(tmp_path, "task_success_rate", "rate>70%").result == "fail"
    assert judged(tmp_path, "task_success_rate", "rate>30%").result == "inconclusive"


def test_rows_of_an_older_version_say_nothing_new(tmp_path: Path) -> None:
    """Such rows do not tell whether a null could not be scored, or does not apply."""
    synthetic.write(tmp_path, PLAN)
    edit(tmp_path, "turns", halved(Half({"task_success": True} | WORDS, {})))
    summary = summarise(load_for_report(tmp_path))

    assert {rate.metric: (rate.n, rate.unscored) for rate in summary.rates} == {
        "task_success_rate": (60, 0),
        "input_wer": (240, 0),
    }
    assert not any("scored" in text for text in notices(summary))


def test_a_notice_names_why_recordings_were_not_transcribed(tmp_path: Path) -> None:
    error = "server_error: Input transcription failed"
    failed = half_of("input_wer").unscored | {"input_transcription_error": error}
    synthetic.write(tmp_path, PLAN)
    edit(tmp_path, "turns", halved(Half(WORDS, failed)))
    (notice,) = (
        text
        for text in notices(summarise(load_for_report(tmp_path)))
        if text.startswith("input_wer")
    )

    assert notice.startswith(
        f"input_wer: 240 of 480{NBSP}words could not be scored, in 60{NBSP}turns of 120: the"
        f" service did not transcribe the recording (60 failed: {error})."
    )


class Lacking(NamedTuple):
    """The columns of a turn that lacks a metric, a condition that turns with it pass, one that
    holds whatever the others have ("" if there is none), and columns of all turns.
    """

    lacking: dict[str, Any]
    breakable: str
    safe: str = ""
    shared: dict[str, Any] = {}  # noqa: RUF012


LATENCIES = {
    "transcript_total": Lacking({"transcript_done_at_ns": None}, "p(60)<60s", "p(40)<60s"),
    "input_transcript": Lacking(
        {"input_transcribed_at_ns": None}, "within(60s)>0.9", "within(60s)>0.3"
    ),
    "response_total": Lacking({"response_done_at_ns": None}, "p(60)<60s", "p(40)<60s"),
    "stall_duration": Lacking({"stall_duration_ns": None}, "p(60)<60s", "p(40)<60s"),
    "network_rtt": Lacking({"network_rtt_ns": None}, "p(60)<60s", "p(40)<60s"),
    "retransmits": Lacking({"retransmits": None}, "avg<60"),
    "cached_share": Lacking({"context_tokens": None}, "avg>1"),
    "transcript_lag": Lacking(
        {"transcript_lag_ns": None},
        "p(60)<60s",
        "p(40)<60s",
        {"transcript_lag_ns": 5, "speech_start_at_ns": 0, "speech_end_at_ns": MIN_SPEECH_NS},
    ),
}
"""The walk over metrics that turns of a step may lack although others have them."""


@pytest.mark.parametrize("name", some([*LATENCIES], 4))
def test_a_metric_that_half_of_the_turns_lack_says_so_and_passes_only_what_holds_anyway(
    name: str, tmp_path: Path
) -> None:
    lacking, breakable, safe, shared = LATENCIES[name]
    known = {"context_tokens": 100, "context_cached_tokens": 50, "received_audio_ns": 5}

    def change(index: int, row: Row) -> Row:
        session, turn = divmod(index, 2)
        # cached_share has no value in the first turn of a session
        number = {"turn": turn + 2}
        return row | known | shared | number | ({} if (session + turn) % 2 == 0 else lacking)

    synthetic.write(tmp_path, PLAN)
    edit(tmp_path, "turns", change)
    summary = summarise(load_for_report(tmp_path))
    (row,) = (row for row in summary.turn_metrics if [row.metric, row.step] == [name, "all"])

    assert (row.n, row.unscored, row.planned, row.completed_share) == (60, 60, 120, 0.5)
    by_step = rtbench.load(tmp_path).quantiles(name, p=0.5, by="step")
    assert by_step["unscored"].tolist() == [30, 30]
    if row.unit == "ms":
        assert "60 without a value" in run_forms(summary)[1].replace("\n", " ")
    broken = judged(tmp_path, name, breakable)
    stated = f"60 of 120{NBSP}turns have no value: {HOLD}"
    assert (broken.result, why(broken)) == ("inconclusive", stated)
    if safe:
        held = judged(tmp_path, name, safe)
        assert held.result == "pass"
        assert stated in why(held)


def test_a_metric_that_no_turn_must_have_is_not_missing(tmp_path: Path) -> None:
    """A reply without a pause has no dead air, and one that was not interrupted no yield."""
    optional = {
        "dead_air_ns": 5,
        "barge_in_at_ns": 5,
        "barge_in_silent_at_ns": 6,
        "transcript_lag_ns": 5,  # the lag of short speech is not computed
    }
    synthetic.write(tmp_path, PLAN)
    edit(tmp_path, "turns", lambda index, row: row | (optional if index % 3 else {}))
    summary = summarise(load_for_report(tmp_path))

    assert {row.metric for row in summary.turn_metrics} >= {"dead_air", "barge_in_yield"}
    assert {row.unscored for row in summary.turn_metrics} == {0}


@pytest.mark.parametrize("name", [name for name, m in CATALOGUE.items() if m.scope == "turn"])
def test_a_metric_that_all_turns_should_have_is_a_column_and_others_have_a_beginning(
    name: str,
) -> None:
    metric = CATALOGUE[name]
    if metric.due == "always" or isinstance(metric.due, int):
        assert metric.column
    elif metric.due != "begun":
        assert metric.begin


def test_more_cached_than_input_tokens_are_a_fault_of_the_service(tmp_path: Path) -> None:
    def change(index: int, row: Row) -> Row:
        cached = 250 if index % 4 == 3 else 50
        return row | {"turn": index % 2 + 2, "context_tokens": 100, "context_cached_tokens": cached}

    synthetic.write(tmp_path, PLAN)
    edit(tmp_path, "turns", change)
    summary = summarise(load_for_report(tmp_path))
    (row,) = (
        row for row in summary.turn_metrics if (row.metric, row.step) == ("cached_share", "all")
    )

    assert (row.n, row.unscored, row.largest) == (90, 30, 50)
    assert (
        f"The service reported more cached tokens than input tokens in 30 of 120{NBSP}turns. This"
        " is a fault of the service: cached_share of these turns is unknown."
    ) in notices(summary)
    assert judged(tmp_path, "cached_share", "p(20)>40").result == "inconclusive"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparedTarget, ...]:
    """Return two targets. On east, half of the turns have no score; all others are equal."""
    folder = tmp_path_factory.mktemp("both")
    name = run(folder, PAIRED)

    def change(index: int, row: Row) -> Row:
        changed = halved(half_of("task_success_rate"), "east")(index, row)
        lacks = changed["task_success"] is None
        return changed | ({"transcript_done_at_ns": None} if lacks else {})

    edit(folder, "turns", change)
    return parse_targets([name])


@pytest.mark.parametrize("metric", ["task_success_rate", "transcript_total"])
def test_a_comparison_uses_the_worst_cases_of_both_targets(
    both: tuple[ComparedTarget, ...], metric: str
) -> None:
    (compared,) = (one for one in quick(both).comparisons if one.spec.metric == metric)
    unknown = "could not be scored" if metric in RATES else "have no value"
    stated = f"60 of 120{NBSP}turns on east {unknown}: {HOLD}"

    assert compared.verdict.name == "inconclusive"
    assert why(compared).startswith(stated)
    if compared.difference:
        assert compared.difference.low < -0.5 < compared.difference.high


def test_no_baseline_is_stored_of_a_value_that_could_not_be_scored(
    both: tuple[ComparedTarget, ...],
) -> None:
    west, east = map(baseline_of, both)

    assert {rate.name for rate in west.rates} - {rate.name for rate in east.rates} == {
        "task_success_rate"
    }
    assert {row.metric for row in west.quantiles} - {row.metric for row in east.quantiles} == {
        "transcript_total"
    }


def test_an_interim_analysis_decides_nothing_that_could_not_be_scored(
    both: tuple[ComparedTarget, ...],
) -> None:
    spec = MetricSpec("task_success_rate", Rate())
    (statistic,) = interim_statistics(both, [spec], Inference(), 0.05)

    assert statistic.untested is not None
    assert statistic.untested.code == "unscored"


def test_a_level_of_a_load_counts_unscored_turns_for_and_against_it(
    both: tuple[ComparedTarget, ...],
) -> None:
    east = both[1]
    limit = (parse("task_success_rate", "rate>70%"),)
    (worst,), (best,) = counts_of(east, limit), known_counts(east, limit)
    (share,) = Analysis(east, limit, ShareBounds(0.05, 4)).shares()

    assert [int(of.sum()) for of in (*worst, *best)] == [60, 120, 0, 120]
    assert (share.result, share.value.unscored, share.value.low) == ("inconclusive", 60, 0)
    assert share.value.high > 0.5
    assert share.reason is not None
    assert share.reason.code == "unscored"


def test_frames_trends_and_files_of_a_check_have_the_number_of_unscored_turns(
    tmp_path: Path,
) -> None:
    folder = halved_run(tmp_path, "task_success_rate")
    write_summary(folder)
    loaded = rtbench.load(folder)
    rates = loaded.rates().set_index("rate")
    (point,) = points_of_run(folder)
    checked = check_of(load_frames(folder), (parse("task_success_rate", "rate>70%"),))
    stated = f"60 of 120{NBSP}turns could not be scored"
    page = check_page(checked)
    texts = {name: form.text(checked, page) for name, form in FORMATS.items()}

    assert rates["unscored"]["task_success_rate"] == 60
    assert loaded.rates(by="step").set_index("rate")["unscored"]["task_success_rate"].sum() == 60
    missing = point.rates["task_success_rate"].missing
    assert missing is not None
    assert missing.code == "unscored"
    assert checked.exit_status == 3
    for name, text in texts.items():
        assert "60 of 120" in text.replace(NBSP, " "), name
    assert json.loads(texts["json"])["findings"][0]["value"]["unscored"] == 60
    assert stated in json.loads(texts["json"])["headline"].replace(" turns", f"{NBSP}turns")


def test_each_rate_that_can_be_unscored_has_a_reason_and_a_definition() -> None:
    unscored = {name for name, rate in RATES.items() if rate.due is not None}

    assert unscored == set(BECAUSE)
    assert set(RATES) == set(DEFINITIONS)
