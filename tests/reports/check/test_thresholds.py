"""Thresholds: their syntax, the reasons for refusals, those that no run can evaluate, and
positions in the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.catalogue.metrics import SLOPE
from reports.metrics.measurable import refuse_unmeasurable
from reports.metrics.strata import Stratum
from reports.metrics.thresholds import (
    THRESHOLD_METRICS,
    parse,
    read_thresholds,
    requested_thresholds,
)
from reports.statistics.differences import Margin

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("metric", "text", "kind", "p", "limit"),
    [
        ("ttfa", "p(95)<800", "quantile", 0.95, 800),
        ("ttfa", " p( 99.9 ) <= 0.8s ", "quantile", 0.999, 800),
        ("failure_rate", "rate<1%", "rate", None, 0.01),
        ("audio_speed", "avg>1.2", "mean", None, 1.2),
        ("transcript_lead", "med>-20", "quantile", 0.5, -20),
    ],
)
def test_a_limit_is_read_in_the_unit_of_its_metric(
    metric: str, text: str, kind: str, p: float | None, limit: float
) -> None:
    found = parse(metric, text)

    assert (found.statistic.kind, found.p, found.limit, found.margin) == (kind, p, limit, None)


@pytest.mark.parametrize(
    ("metric", "text", "margin"),
    [
        ("ttfa", "p(95)<+20%", Margin(ratio=0.2)),
        ("ttfa", "p(95) < +20% and +0.03s", Margin(ratio=0.2, plus=30)),
        ("ttfa", "p(95)<+30ms and +20%", Margin(ratio=0.2, plus=30)),
        ("failure_rate", "rate<+1pt", Margin(points=0.01)),
    ],
)
def test_a_margin_is_read_as_the_accepted_degradation(
    metric: str, text: str, margin: Margin
) -> None:
    found = parse(metric, text)

    assert (found.margin, found.limit) == (margin, None)


def read(folder: Path, text: str) -> list[tuple[str, bool]]:
    """Return the text of each threshold in a file, and whether it stops the run."""
    (folder / "ci.yaml").write_text(text)
    return [
        (threshold.source_text, threshold.abort)
        for threshold in read_thresholds(folder / "ci.yaml")
    ]


def test_a_threshold_may_be_a_table_with_abort(tmp_path: Path) -> None:
    text = "ttfa:\n- {threshold: p(95)<800, abort: true}\n- {threshold: med<1s}\n- med<900\n"
    single = "failure_rate: {threshold: rate<1%, abort: true}\n"

    assert read(tmp_path, text + single) == [
        ("ttfa: p(95)<800", True),
        ("ttfa: med<1s", False),
        ("ttfa: med<900", False),
        ("failure_rate: rate<1%", True),
    ]


numbers = st.decimals(min_value="0.001", max_value="0.999", places=3).map(str)


@given(
    st.sampled_from(
        sorted(name for name in THRESHOLD_METRICS if not THRESHOLD_METRICS[name].signed)
    ),
    st.decimals(min_value="0.1", max_value="99.9", places=1),
    numbers,
    st.booleans(),
    st.booleans(),
)
def test_a_printed_threshold_reads_back(
    name: str, p: object, number: str, relative: bool, equal: bool
) -> None:
    of = THRESHOLD_METRICS[name]
    relative = relative and of.better != "neither" and of.only is None
    aggregate = "rate" if of.unit == "share" else f"p({p})"
    if of.only is not None:
        aggregate = of.only.aggregate
    sign = (">" if of.better == "higher" else "<") + "=" * equal
    unit = {"share": "pt", SLOPE: "ms"}.get(of.unit, "%") if relative else ""
    before = ("-" if of.better == "higher" else "+") if relative else ""

    found = parse(name, f"{aggregate} {sign} {before}{number}{unit}")

    assert (found.metric, found.sign, found.limit is None) == (name, sign, relative)
    assert parse(*found.source_text.split(": ", 1)) == found
    if relative:
        assert found.spec.primary
    else:
        assert found.limit == float(number)


@given(st.text(), st.text())
def test_any_text_is_a_threshold_or_refused_in_one_line(metric: str, text: str) -> None:
    assert all("\n" not in refusal(name, text) for name in (metric, "ttfa", f"ttfa{{{metric}}}"))


def refusal(metric: str, text: str) -> str:
    """Return the error with which a threshold is refused; "" if the threshold is valid."""
    try:
        parse(metric, text)
    except UsageError as error:
        return str(error)
    return ""


@given(st.binary())
def test_any_file_is_refused_with_its_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"any\.yaml"):
        read_thresholds(path)


def written(folder: Path, text: str) -> Path:
    path = folder / "ci.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_metric_has_one_threshold_or_a_list(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'ttfa:\n  - "p(95)<800"\n  - med<500 # ms\nttfa{step:greeting}: [p(50)<+5%]\nfailure_rate:'
        " rate<1%\n",
    )

    assert [found.source_text for found in read_thresholds(path)] == [
        "ttfa: p(95)<800",
        "ttfa: med<500",
        "ttfa{step:greeting}: p(50)<+5%",
        "failure_rate: rate<1%",
    ]


@pytest.mark.parametrize(
    "name", ["scenarios/ci.yaml", *(str(path) for path in ROOT.glob("docs/ci/files/*y.yaml"))]
)
def test_the_included_thresholds_files_are_valid(name: str) -> None:
    read_thresholds(ROOT / name)


def test_the_commented_thresholds_of_the_example_are_valid(tmp_path: Path) -> None:
    lines = (ROOT / "scenarios" / "ci.yaml").read_text(encoding="utf-8").splitlines()
    hidden = [
        line[2:]
        for line in lines
        if line.startswith(("# ttfa{", "# voice", "#   - ", "# fail", "# audio"))
    ]

    assert len(read_thresholds(written(tmp_path, "\n".join(hidden)))) == 5


def test_a_threshold_may_be_on_one_turn_type() -> None:
    plain, both = (
        parse("ttfa{turn_type:regular}", "p(95)<800"),
        parse("ttfa{turn_type:filler+function_calls}", "p(95)<800"),
    )

    assert (plain.about.stratum, both.about.stratum) == (
        Stratum(),
        Stratum(turn_type="function_calls+filler"),
    )
    assert both.source_text == "ttfa{turn_type:function_calls+filler}: p(95)<800"
    assert parse("failure_rate{turn_type:function_calls}", "rate<1%").about.stratum == Stratum(
        turn_type="function_calls"
    )


SILENT = {
    "speech_end": "it has no spoken turn (`play`)",
    "turn_type:function_calls": "the session has no functions (`tools`)",
    "task_success": "the script has no `success` condition",
    "input_word_errors": "no speech is transcribed",
}


def script(name: str = "talk", *, spoken: bool = False) -> dict[str, Any]:
    """Return a script of two turns. If `spoken`, the second turn is a voice turn."""
    turns = [
        {"step": "hello", "lacks": SILENT},
        {"step": "order", "lacks": {} if spoken else SILENT},
    ]
    return {
        "name": name,
        "turns": turns,
        "session": {"greeting_audible": "the script has no `wait_for: greeting` step"},
    }


NEVER = {
    "voice_to_voice: p(95)<1500": "it has no spoken turn (`play`) in talk",
    "end_of_turn_delay: med<900": "it has no spoken turn",
    "ttfa{turn_type:function_calls}: med<900": "the session has no functions",
    "greeting: med<900": "the script has no `wait_for: greeting` step",
    "task_success_rate: rate>90%": "the script has no `success` condition",
    "input_wer: rate<5%": "no speech is transcribed",
}


def threshold(written: str) -> Any:
    return parse(*written.split(": "))


@pytest.mark.parametrize(("written", "why"), NEVER.items())
def test_a_threshold_that_no_run_can_evaluate_is_refused_in_one_line(
    written: str, why: str
) -> None:
    with pytest.raises(UsageError) as refused:
        refuse_unmeasurable(threshold(written), [script()])

    assert str(refused.value).startswith(f"{written} can never be evaluated")
    assert why in str(refused.value)
    assert "such as ttfa" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "written",
    [
        "ttfa: p(95)<900",
        "failure_rate: rate<1%",
        "connect_total: med<9",
        "stall_rate: rate<1%",
        "latency_slope: med<9",
        "ttfa{turn_type:regular}: med<900",
    ],
)
def test_a_threshold_that_a_turn_may_have_is_accepted(written: str) -> None:
    refuse_unmeasurable(threshold(written), [script()])


def test_one_turn_of_any_script_that_may_have_the_metric_is_enough() -> None:
    asked = threshold("voice_to_voice: p(95)<1500")

    refuse_unmeasurable(asked, [script(), script("other", spoken=True)])
    with pytest.raises(UsageError, match="in talk, other"):
        refuse_unmeasurable(asked, [script(), script("other")])


def test_a_threshold_on_a_step_needs_an_existing_step_that_may_have_the_metric() -> None:
    spoken = [script(spoken=True)]

    refuse_unmeasurable(threshold("voice_to_voice{step:order}: p(95)<1500"), spoken)
    with pytest.raises(
        UsageError, match=r"can never be evaluated of step hello, because it has no spoken turn"
    ):
        refuse_unmeasurable(threshold("voice_to_voice{step:hello}: p(95)<1500"), spoken)
    with pytest.raises(UsageError, match='there is no step "helo"; did you mean hello'):
        refuse_unmeasurable(threshold("ttfa{step:helo}: p(95)<1500"), spoken)
    with pytest.raises(UsageError, match="these are: a: hello, a: order, b: hello, b: order"):
        refuse_unmeasurable(threshold("ttfa{step:hello}: p(95)<1500"), [script("a"), script("b")])


def test_the_error_quotes_the_threshold_as_the_user_wrote_it() -> None:
    with pytest.raises(UsageError, match=r'^--slo "voice_to_voice'):
        refuse_unmeasurable(
            threshold("voice_to_voice: med<1"), [script()], '--slo "voice_to_voice p(50)<1"'
        )


def test_the_command_line_accepts_files_and_thresholds_in_one_line(tmp_path: Path) -> None:
    file = written(tmp_path, "ttfa: [p(95)<800]\n")
    found = requested_thresholds(
        [str(file), "ttfa{step:greeting}: p(99) < 1.2s", "failure_rate: rate<1%"]
    )

    assert [threshold.source_text for threshold in found] == [
        "ttfa: p(95)<800",
        "ttfa{step:greeting}: p(99) < 1.2s",
        "failure_rate: rate<1%",
    ]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("ttfa p(95)<800", '"ttfa: p(95)<800"'),
        ("failure_rate<1%", '"failure_rate: rate<1%"'),
        ("yield_rate > 90%", '"yield_rate: rate> 90%"'),
        ("ttfa{step:greeting} med<1s", '"ttfa{step:greeting}: med<1s"'),
    ],
)
def test_a_threshold_in_one_line_without_a_colon_is_refused_with_the_right_spelling(
    text: str, right: str
) -> None:
    with pytest.raises(UsageError) as refused:
        requested_thresholds([text])
    meant = re.fullmatch(r"--thresholds .* has no colon .*: write (\".*\")", str(refused.value))

    assert meant is not None
    assert meant[1] == right
    assert requested_thresholds([right.strip('"')])


@pytest.mark.parametrize(
    "text", ["ttfaa: p(95)<800", "ttfa: p95<800", "ttfa: max<800", "ttfa: p(95)>800", "<", ": <1"]
)
def test_a_mistake_in_a_threshold_in_one_line_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        requested_thresholds([text])

    assert "\n" not in str(refused.value)
