"""The live view: the text of its line, the shortening of this line to the width of the terminal,
and its display.
"""

from __future__ import annotations

import heapq
import os
import re
import termios
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.execution.progress import BOUND, VALUE, WAIT, LiveMetricKey, ProgressReport
from bench.load.lifecycle import RunState
from bench.load.runners.live_totals import LiveTotals
from bench.load.runners.monitor import RunPhase, TerminalView, clock, left_s, phase, status_text
from tests.helpers import designs
from tests.terminal import screen, terminal

S = 1_000_000_000
TTFA, TTFT = (
    LiveMetricKey(WAIT, "ttfa", "request_sent"),
    LiveMetricKey(WAIT, "ttft", "request_sent"),
)
TIMES = {
    TTFA: [486_000] * 90 + [902_000] * 10,
    TTFA._replace(role=VALUE): [486_000] * 100,
    LiveMetricKey(BOUND, "ttfa", "request_sent"): [20] * 100,
}
USUAL: dict[str, Any] = {
    "sessions_open": 12,
    "sessions_done": 84,
    "turns_succeeded": 409,
    "turns_failed": 3,
    "turns_stamped": 412,
    "usd": 1.316,
    "times_us": {"sweden": TIMES},
}
MOMENT = RunPhase("measuring", 42, left_s=78, sessions=120, budget_usd=5.0)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def tally(**changes: Any) -> LiveTotals:
    made = LiveTotals(100.0)
    given = USUAL | changes
    times = {
        target: {"talk.order": list(times.items())} for target, times in given["times_us"].items()
    }
    designed = designs(given["times_us"], given.get("failures", {}))
    made.add(0, ProgressReport(**{"targets": designed} | given | {"times_us": times}))
    return made


def target_waits(*labels: str, times: dict[LiveMetricKey, list[int]] = TIMES) -> dict[str, Any]:
    return {"times_us": dict.fromkeys(labels, times)}


# The text.


def test_the_status_line_of_a_new_run_is_short() -> None:
    assert (
        status_text(LiveTotals(), RunPhase("connecting", 0))
        == "connecting 00:00 · 0 active, 0 finished"
    )


FEW = {TTFA: [486_000] * 99}
FAILING = {"sweden": TIMES, "west": {TTFA: [300_000] * 9}, "north": {TTFA: [300_000] * 4}}
SHOWN_PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "a simulated run": ({"simulated": True}, "SIMULATED · measuring 00:42"),
    "a simulated run before its first turn": (
        {"simulated": True, "turns_succeeded": 0, "turns_failed": 0},
        "SIMULATED by rtbench simulate · measuring 00:42",
    ),
    "delayed starts": ({"waiting_s": 75.0}, "starts delayed 01:15"),
    "refused sessions": ({"sessions_refused": 2}, "2 failed to connect"),
    "callers in back-off": ({"callers_backing_off": 3}, "3 backing off"),
    "throttled turns": ({"throttled": 7}, "7 throttled"),
    "sessions that wait for tokens": ({"tokenless": 5}, "5 waiting for sign-in"),
    "the cost of a simulated run": ({"simulated": True}, "1.32 USD simulated of 5.00"),
    "tokens without a kind": (
        {"kindless_usd": 2.0},
        "at least 1.32 USD of 5.00",
    ),
    "some turns without a price": ({"unpriced": 4}, "1.32 USD of 5.00 (4 unpriced)"),
    "no turn with a price": ({"unpriced": 4, "usd": 0.0}, " · cost unknown (4 unpriced) · "),
    "all turns succeed": ({"turns_failed": 0}, "turns 409 ok 100 %"),
    "nearly all turns succeed": (
        {"turns_succeeded": 99_999, "turns_failed": 1},
        "turns 100000 ok 99.9 %",
    ),
    "no turn succeeds": ({"turns_succeeded": 0, "turns_failed": 3}, "turns 3 ok 0.0 %"),
    "overload": (
        {"send_delay_p99_ms": 81.0},
        "load generator overloaded: send_delay 81 ms > 50 ms",
    ),
    "a text metric": ({"times_us": {"sweden": {TTFT: [8_400] * 100}}}, "ttft p50 8.4 p95 8.4 ms"),
    "a metric with few sessions": (
        {"times_us": {"sweden": {TTFT: [8_400] * 99}}},
        " · ttft p50 8.4 ms · ",
    ),
    "an infinite p95": ({"failures": {"sweden": [(TTFA, 12)]}}, "ttfa p50 486 p95 ∞ · "),
    "an infinite median": ({"failures": {"sweden": [(TTFA, 120)]}}, "ttfa p50 ∞ p95 ∞ · "),
    "two targets": (target_waits("sweden", "east"), "ttfa p50/p95 east 486/902, sweden 486/902 ms"),
    "a failing and a passing target": (
        {"times_us": FAILING, "failures": {"east": [(TTFA, 9)]}},
        "ttfa p50/p95 east ∞/–, north –/–, sweden 486/902, west 300/– ms",
    ),
    "only medians before any target has a p95": (
        target_waits("east", "sweden", times=FEW),
        "ttfa p50 east 486, sweden 486 ms",
    ),
    "at most four targets have values": (target_waits(*"abcdef"), "d 486/902 +2 ms"),
    "latency measured from another instant is labelled": (
        {
            "times_us": {
                "sweden": {
                    TTFA._replace(measured_from="speech_end"): [700_000] * 120,
                    TTFA: [400_000] * 100,
                }
            }
        },
        "ttfa from end of speech p50 700 p95 700 ms · ttfa p50 400 p95 400 ms",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), SHOWN_PARTS.values(), ids=SHOWN_PARTS)
def test_the_status_line_shows_each_special_condition(
    changes: dict[str, Any], expected: str
) -> None:
    assert expected in status_text(tally(**changes), MOMENT)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00"), (42.9, "00:42"), (3599, "59:59"), (3600, "1:00:00"), (90_061, "25:01:01")],
)
def test_durations_are_formatted_like_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# The fit to the width of the terminal.


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            105,
            (
                "measuring 00:42 · 12 active · 412 ok 99.2 % · ttfa 486/902 ms · 1.32 USD · load"
                " generator OK · 01:18 left"
            ),
        ),
        (80, "measuring 00:42 · 12 active · 412 ok 99.2 % · ttfa 486/902 ms · 1.32 USD"),
        (60, "measuring 00:42 · 412 ok 99.2 % · ttfa 486/902 ms · 1.32 USD"),
    ],
)
def test_a_narrow_line_omits_the_least_important_parts(width: int, text: str) -> None:
    assert status_text(tally(), MOMENT, width) == text


def test_overload_by_other_programs_asks_to_stop_them_while_that_helps() -> None:
    moment = replace(MOMENT, others_are_busy=True)

    assert status_text(tally(), moment) == status_text(tally(), MOMENT)
    late = status_text(tally(send_delay_p99_ms=81.0), moment)
    assert "send_delay 81 ms > 50 ms · stop other programs now · 01:18 left" in late


TROUBLE = {"sessions_refused": 45, "throttled": 45, "send_delay_p99_ms": 81.0}


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            125,
            (
                "measuring 00:42 · 45 failed to connect · 412 ok 99.2 % · 45 throttled · ttfa"
                " 486/902 ms · load generator overloaded"
            ),
        ),
        (
            105,
            (
                "measuring 00:42 · 45 failed to connect · 45 throttled · ttfa 486/902 ms · load"
                " generator overloaded"
            ),
        ),
        (45, "measuring 00:42 · load generator overloaded"),
    ],
)
def test_a_narrow_line_omits_successes_before_problems(width: int, text: str) -> None:
    assert status_text(tally(**TROUBLE), MOMENT, width) == text


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (200, "load generator delayed: timestamp_uncertainty "),
        (45, "measuring 00:42 · load generator delayed"),
    ],
)
def test_uncertain_timestamps_are_shown_as_a_delay(width: int, text: str) -> None:
    late = TIMES | {TTFA._replace(role=BOUND): [90_000] * 100}
    assert text in status_text(tally(times_us={"sweden": late}, sessions_refused=45), MOMENT, width)


labels = st.text(min_size=1, max_size=30)
FAILED = st.tuples(st.sampled_from([TTFA, None]), st.integers(1, 99))
standings = st.builds(
    ProgressReport,
    sessions_open=st.integers(0, 10**6),
    sessions_done=st.integers(0, 10**6),
    sessions_refused=st.integers(0, 99),
    turns_succeeded=st.integers(0, 10**7),
    turns_failed=st.integers(0, 10**7),
    throttled=st.integers(0, 99),
    tokenless=st.integers(0, 99),
    usd=st.floats(0, 1e6),
    unpriced=st.integers(0, 99),
    waiting_s=st.floats(0, 600),
    send_delay_p99_ms=st.none() | st.floats(0, 1e4),
    simulated=st.booleans(),
    failures=st.dictionaries(
        labels, st.lists(FAILED, max_size=2, unique_by=lambda failed: failed[0]), max_size=6
    ),
    times_us=st.dictionaries(labels, st.just({"talk.order": list(TIMES.items())}), max_size=6),
)
moments = st.builds(
    RunPhase,
    st.sampled_from(
        ["connecting", "delayed", "warm-up", "measuring", "finishing calls", "writing report"]
    ),
    st.floats(0, 1e6),
    left_s=st.none() | st.floats(0, 1e6),
    sessions=st.none() | st.integers(1, 10**6),
    budget_usd=st.none() | st.floats(0.01, 1e4),
    analyses=st.none() | st.tuples(st.integers(0, 99), st.integers(1, 99)),
)


@given(standings, moments, st.integers(60, 300))
def test_the_line_fits_the_width_and_has_no_control_characters(
    standing: ProgressReport, moment: RunPhase, width: int
) -> None:
    made = LiveTotals(100.0)
    made.add(0, standing)
    output = status_text(made, moment, width)

    assert len(output) <= width
    assert output.startswith((moment.phase, "SIMULATED"))
    assert not CONTROLS.search(output)
    assert not CONTROLS.search(status_text(made, moment))


# The phase of a run.


@pytest.mark.parametrize(
    ("standing", "state", "warm_up", "found"),
    [
        (ProgressReport(), RunState.RUNNING, False, "connecting"),
        (ProgressReport(waiting_s=20), RunState.RUNNING, False, "delayed"),
        (ProgressReport(sessions_open=1), RunState.RUNNING, False, "measuring"),
        (ProgressReport(turns_succeeded=1), RunState.RUNNING, False, "measuring"),
        (ProgressReport(sessions_open=1), RunState.DRAINING, False, "finishing calls"),
        (ProgressReport(), RunState.CLOSING, False, "writing report"),
        (ProgressReport(sessions_open=1), RunState.RUNNING, True, "warm-up"),
        (ProgressReport(), RunState.RUNNING, True, "connecting"),
    ],
)
def test_the_phase_follows_from_progress_and_state(
    standing: ProgressReport, state: RunState, warm_up: bool, found: str
) -> None:
    assert phase(standing, state, warm_up=warm_up) == found


@pytest.mark.parametrize(
    ("elapsed_s", "run_time_s", "sessions", "done", "active", "left"),
    [
        (42, 120, None, 0, 4, 78),
        (130, 120, None, 0, 4, 0),
        (42, None, 20, 0, 0, None),
        (30, None, 20, 4, 2, 90),
        (30, 60, 20, 4, 2, 30),
        (30, None, 20, 4, 5, None),
        (30, None, 20, 20, 0, 0),
    ],
)
def test_the_time_left_is_until_the_earliest_end(
    elapsed_s: float,
    run_time_s: float | None,
    sessions: int | None,
    done: int,
    active: int,
    left: float | None,
) -> None:
    assert left_s(elapsed_s, run_time_s, sessions, done, active) == left


@pytest.mark.parametrize("users", [1, 4, 100])
@pytest.mark.parametrize("ramp_s", [0, 10])
def test_the_time_left_is_never_far_longer_than_the_run(users: int, ramp_s: float) -> None:
    """Calls of 5 to 20 s in a closed loop."""
    free_s = [ramp_s * user / users for user in range(users)]
    starts = list[float]()
    ends = list[float]()
    for call in range(135):
        starts.append(heapq.heappop(free_s))
        ends.append(starts[-1] + 5 + call * 7 % 16)
        heapq.heappush(free_s, ends[-1])
    run_s = max(ends)
    for now_s in np.arange(0.5, run_s, 0.5):
        done = sum(end <= now_s for end in ends)
        active = sum(start <= now_s for start in starts) - done
        left = left_s(now_s, None, len(ends), done, active)
        assert left is None or left <= 1.5 * run_s


# The drawing.


def test_the_line_is_drawn_at_most_twice_a_second() -> None:
    with terminal() as (reads, stream):
        view = TerminalView(stream, {})
        for tenth in range(11):
            view.show(tally(), MOMENT, tenth * S // 10)
        text = screen(reads)

    assert text.count("\r") == 3  # the line is drawn at 0, 0.5 and 1 s


DRAWN: dict[str, tuple[Callable[[TerminalView], object], str]] = {
    # (the action after the line was displayed, the last output to the terminal)
    "a message replaces the line": (
        lambda view: (view.say("the run ends early"), view.say("twice")),
        "\r\x1b[Krtbench: the run ends early\nrtbench: twice\n",
    ),
    "output of others begins on a new line": (
        lambda view: print("a log's line", file=view),
        "\r\x1b[Ka log's line\n",
    ),
    "a cleared line is empty": (lambda view: (view.clear(), view.clear()), "\x1b[K\r\x1b[K"),
}


@pytest.mark.parametrize(("after", "last"), DRAWN.values(), ids=DRAWN)
def test_later_output_begins_on_a_new_line(
    after: Callable[[TerminalView], object], last: str
) -> None:
    with terminal() as (reads, stream):
        view = TerminalView(stream, {})
        view.show(tally(), MOMENT, 0)
        after(view)
        text = screen(reads)

    assert text.endswith(last)


def test_a_stopped_terminal_does_not_hold_up_the_run() -> None:
    with terminal() as (reads, stream):
        view = TerminalView(stream, {})
        termios.tcflow(stream.fileno(), termios.TCOOFF)
        view.show(tally(), MOMENT, 0)
        stopped = screen(reads)
        termios.tcflow(stream.fileno(), termios.TCOON)
        view.show(tally(), MOMENT, 1)
        text = screen(reads)

    assert stopped == ""
    assert "measuring 00:42" in text


def test_a_closed_pipe_does_not_end_the_run() -> None:
    reads, writes = os.pipe()
    with os.fdopen(writes, "w") as stream:
        os.close(reads)
        view = TerminalView(stream, {})
        view.show(tally(), MOMENT, 0)
        view.say("not displayed")
        # the rest of the buffer is written when the file is closed, and needs a valid destination
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), writes)

    assert stream.closed
