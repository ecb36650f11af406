"""The result of a calibration on the screen and as a page."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.record.calibration import KINDS, Calibration, LoadStep
from reports.render.html import render_html
from reports.render.terminal import render_lines
from rtbench.calibrate.load_step_search import calibration_of
from rtbench.calibrate.page import calibration_page, chart, error_table, step_heads, step_lines
from tests.calibrate.builders import build_step, steps_of_both

STEPS = [
    *steps_of_both((100, "pass"), (1600, "fail")),
    build_step(800, "simulator_late", why="the simulator was late: p99 2 ms"),
]


def build_calibration(steps: list[LoadStep]) -> Calibration:
    return calibration_of(steps, {"kernel": "Linux <6>"}, "2026-11-20", tls=True)


def error_lines(steps: list[LoadStep]) -> list[str]:
    """Return the lines of the table with the errors, below its caption."""
    return render_lines([[error_table(steps, KINDS, "errors")]]).splitlines()[1:]


def test_every_line_fits_a_hundred_columns() -> None:
    large = build_step(100_000, "fail", p99=123_456.789, why="the error (p99) of ttfa is 120 ms")
    lines = [*step_heads("text"), *(line for step in [*STEPS, large] for line in step_lines(step))]
    lines += error_lines([*STEPS, large])

    assert [line for line in lines if len(line) > 100] == []


def test_a_step_that_does_not_pass_has_a_second_line_with_the_reason() -> None:
    mark, why = step_lines(STEPS[-1])

    assert mark.startswith("?")
    assert why.strip() == "the simulator was late: p99 2 ms"
    assert len(step_lines(STEPS[0])) == 1


def test_the_table_has_every_metric_at_every_load() -> None:
    head, *lines = error_lines(STEPS)

    assert head.split()[-5:] == ["n", "p50", "p99", "p99.9", "max"]
    assert len(lines) == sum(len(step.errors) for step in STEPS)
    assert lines[3].split() == ["text:", "ttfa", "100", "1,000", "0.005", "0.05", "–", "0.15"]


def test_a_step_without_metrics_is_shown_with_its_reason() -> None:
    bare = LoadStep("voice", 5, "fail", "the run ended with status -9")

    assert step_lines(bare)[1:] == ["    the run ended with status -9"]
    assert error_lines([bare]) == []
    assert "<td>✕ the run ended with status -9</td>" in render_html(
        calibration_page(build_calibration([bare]))
    )


def test_a_step_has_notes_about_few_turns_and_unmatched_turns() -> None:
    step = build_step(100, turns=120, unmatched=1)
    page = render_html(calibration_page(build_calibration([step])))

    assert step_lines(step)[1:] == ["    p99 of 120 turns", "    1\u00a0turn could not be compared"]
    assert "✓ p99 of 120 turns; 1\u00a0turn could not be compared" in page


def test_p999_is_shown_from_5000_turns_on() -> None:
    *_, p999, high = error_lines([build_step(turns=5000)])[-1].split()
    *_, few, _ = error_lines([build_step(turns=4999)])[-1].split()

    assert (p999, high, few) == ("0.1", "0.15", "–")


def test_the_page_has_the_conclusion_one_chart_and_each_load() -> None:
    page = render_html(calibration_page(build_calibration(STEPS)))

    assert "Trust this machine up to 100 sessions per process." in page
    assert "Linux &lt;6&gt;" in page
    assert page.count("<svg") == 1
    assert "the simulator was late: p99 2 ms" in page


def test_the_chart_shows_the_evaluated_loads_and_both_limits() -> None:
    drawn = ElementTree.fromstring(chart(STEPS, KINDS).svg())
    texts = [element.text for element in drawn.iter() if element.tag == "text"]

    assert {"1 ms", "100 µs", "sessions per process"} <= set(texts)
    tips = [element.text for element in drawn.iter() if element.tag == "title"]
    assert len(tips) == 4
    assert not any("800 sessions" in str(tip) for tip in tips)


def test_a_chart_without_steps_is_drawn() -> None:
    assert chart([], KINDS).svg()
