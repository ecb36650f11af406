"""The highest trusted load of a machine, and the last line of output."""

from __future__ import annotations

import msgspec
import pytest

from bench.record.calibration import KINDS, Calibration, LoadStep, Outcome, SessionKind, TrustedLoad
from rtbench.calibrate.load_step_search import (
    bytes_per_session,
    calibration_of,
    is_coarse,
    is_concluded,
)
from rtbench.calibrate.text import conclusions
from tests.calibrate.builders import build_step, steps_of_both

LAST = "trust this machine up to 200 sessions per process"


def concluded(steps: list[LoadStep]) -> Calibration:
    return calibration_of(steps, {"kernel": "Linux 6"}, "2026-11-20", tls=False)


def test_the_last_line_is_the_trusted_load() -> None:
    found = concluded(steps_of_both((100, "pass"), (200, "pass"), (400, "fail")))

    assert conclusions(found)[-1] == LAST
    assert found.trusted == {"text": TrustedLoad(200, 5000), "voice": TrustedLoad(200, 5000)}
    assert found.ended == {}
    assert is_concluded(found)


GOOD: list[tuple[int, Outcome]] = [(100, "pass"), (200, "pass")]
GENERATOR_LIMIT = [build_step(200, kind="text"), build_step(400, "fail", kind="text")]
SIMULATOR_LIMIT = [build_step(200, kind="voice"), build_step(400, "simulator_late", kind="voice")]
LAST_LINES: dict[str, tuple[list[LoadStep], str]] = {
    "the answer holds for either kind of sessions": (
        [
            *(build_step(n, kind="text") for n in (100, 400)),
            build_step(200, kind="voice"),
            build_step(800, "fail", kind="text"),
            build_step(400, "fail", kind="voice"),
        ],
        LAST,
    ),
    "if every load passes the trusted load is a lower bound": (
        [build_step(40, kind="text"), build_step(40, kind="voice")],
        (
            "trust this machine up to at least 40 sessions per process; --max-sessions, not the"
            " load generator, ended the calibration"
        ),
    ),
    "if the simulator reaches its limit the trusted load is a lower bound": (
        steps_of_both(*GOOD, (400, "simulator_late"), (400, "simulator_late")),
        LAST.replace("to ", "to at least ")
        + "; the simulator, not the load generator, ended the calibration",
    ),
    "if the machine is busy the trusted load is a lower bound": (
        steps_of_both(*GOOD, (400, "machine_busy"), (400, "machine_busy")),
        LAST.replace("to ", "to at least ")
        + "; other programs, not the load generator, ended the calibration",
    ),
    "of two equal results the one limited by the load generator counts": (
        [*GENERATOR_LIMIT, *SIMULATOR_LIMIT],
        LAST,
    ),
    "no conclusion if no load has a result": (
        [build_step(100, kind="text"), build_step(100, "simulator_late", kind="voice")],
        "no conclusion for voice sessions: the simulator set the limit",
    ),
    "a load generator that fails at each load is not trusted": (
        steps_of_both((5, "fail")),
        "trust this machine up to 0 sessions per process",
    ),
    "loads above a failed load are not trusted": (
        steps_of_both((100, "pass"), (200, "pass"), (300, "fail"), (400, "pass")),
        LAST,
    ),
    "the last result of a repeated load counts": (
        steps_of_both((100, "pass"), (200, "simulator_late"), (200, "pass"), (400, "fail")),
        LAST,
    ),
}


@pytest.mark.parametrize(("steps", "last"), LAST_LINES.values(), ids=LAST_LINES)
def test_the_last_line_has_the_trusted_load_and_the_reason_of_the_end(
    steps: list[LoadStep], last: str
) -> None:
    found = concluded(steps)

    assert conclusions(found)[-1] == last
    assert is_concluded(found) is not last.startswith("no conclusion")


def test_a_calibration_in_which_each_load_passes_is_coarse() -> None:
    assert is_coarse(concluded([build_step(40, kind="text"), build_step(40, kind="voice")]))


def test_a_quick_calibration_is_coarse_and_adds_a_note() -> None:
    steps = [
        build_step(n, "fail" if n == 400 else "pass", kind=kind)
        for kind in KINDS
        for n in (100, 400)
    ]
    full = concluded(steps)
    quick = msgspec.structs.replace(full, quick=True)

    assert [line for line in conclusions(quick) if line not in conclusions(full)] == [
        "this is a rough result: few loads were tested, each for a short time; leave --quick out"
        " for a precise one"
    ]
    assert (is_coarse(full), is_coarse(quick)) == (False, True)


def test_a_stricter_error_limit_has_a_lower_load() -> None:
    kinds: tuple[SessionKind, ...] = ("text", "voice")
    steps = [
        build_step(n, kind=kind, p99=p99)
        for kind in kinds
        for n, p99 in ((100, 0.09), (200, 0.11), (400, 0.08))
    ]
    found = concluded(steps)

    assert found.exact["voice"].sessions == 100
    assert found.trusted["voice"].sessions == 400
    assert conclusions(found)[-2] == "errors are within 100 µs (p99) up to 100 sessions per process"


@pytest.mark.parametrize(("turns", "expected"), [(499, "; p99 of 499 turns"), (500, "")])
def test_a_trusted_load_with_few_turns_has_a_note_about_its_p99(turns: int, expected: str) -> None:
    steps = [build_step(n, kind="text", turns=n * turns // 200, rss_bytes=None) for n in (100, 200)]
    line, *_ = conclusions(concluded([*steps, build_step(200, kind="voice")]))

    assert (
        line
        == "text: within 1 ms up to at least 200 sessions (5,000 events/s), within 100 µs up to 200"
        + expected
    )


def test_a_load_that_the_load_generator_did_not_limit_is_printed_as_at_least() -> None:
    listening, talking, *_ = conclusions(concluded([*GENERATOR_LIMIT, *SIMULATOR_LIMIT]))

    assert listening.startswith("text: within 1 ms up to 200 sessions")
    assert talking.startswith("voice: within 1 ms up to at least 200 sessions")


def test_memory_per_session_is_the_slope_between_loads() -> None:
    steps = [build_step(n, rss_bytes=10**8 + 90_000 * n) for n in (100, 200, 400)]

    assert bytes_per_session(steps) == pytest.approx(90_000)
    assert bytes_per_session(steps[:1]) is None
    assert bytes_per_session([build_step(rss_bytes=None)]) is None
    falling = [build_step(n, rss_bytes=10**8 - 3 * n) for n in (100, 200, 400)]
    assert (
        "kB"
        not in conclusions(
            concluded([*falling, *(build_step(n, kind="voice") for n in (100, 200))])
        )[0]
    )
    assert (
        "; 90 kB per session"
        in conclusions(concluded([*steps, *(build_step(n, kind="voice") for n in (100, 200))]))[0]
    )
