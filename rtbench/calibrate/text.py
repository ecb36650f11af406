"""The sentences of a calibration: why a step did not pass, the notes on it, and the result."""

from collections.abc import Mapping

from bench.record.calibration import Calibration, LoadStep, SessionKind, at_least
from bench.record.validity import over_text
from reports.formatting import join_present, plural
from reports.results.value import Reason
from reports.statistics.quantiles import turns_to_publish
from reports.text.invalid import failed_check
from rtbench.calibrate.load_step_search import bytes_per_session, is_concluded

SENTENCES: Mapping[str, str] = {
    "simulator_died": "the simulator died",
    "simulator_late": "the simulator was late: p99 {p99_ms:.2g} ms",
    "simulator_overloaded": "the simulator was overloaded: it used {used:.0%} of its cores",
    "no_truth": "the simulator has no ground truth for any turn",
    "not_open": "only {open} of {sessions} sessions were open",
    "turns_failed": "{failed} of {turns} turns failed or did not start",
    "none_compared": "no turn could be compared with the ground truth",
    "not_compared": "{unmatched} of {turns} turns could not be compared with the ground truth",
    "check_failed": "invalid: {check}",
    "no_verdict": "the run has no verdict",
    "too_large_error": "the error (p99) of {metric} is {p99_ms:.2g} ms",
    "at_full_cpu": "{reason}; the load generator used all of its CPU time",
    "machine_busy": "other programs used {used:.0%} of a core ({reason})",
    "run_died": "{message}",
}
"""The sentence of each code. It contains the numbers of the reason."""


def reason_text(reason: Reason | None) -> str:
    """Return why a step did not pass as a text; "" if there is no reason."""
    if reason is None:
        return ""
    texts = {
        name: reason_text(value) if isinstance(value, Reason) else value
        for name, value in reason.numbers.items()
    }
    if reason.code == "check_failed":
        texts["check"] = over_text(failed_check(texts["name"], texts))
    return SENTENCES[reason.code].format(**texts)


def notes(step: LoadStep) -> list[str]:
    """Return the notes on a step: why it did not pass, and why some of its values are missing or
    uncertain.
    """
    left_out = f"{plural(step.unmatched, 'turn')} could not be compared" if step.unmatched else ""
    return [note for note in (step.why, few_turns(step), left_out) if note]


def few_turns(step: LoadStep) -> str:
    """Return a note such as `p99 of 127 turns` if a step has fewer turns than p99 needs.

    Return "" if the step has enough turns, or no turns.
    """
    return f"p99 of {step.fewest:,} turns" if 0 < step.fewest < turns_to_publish(0.99) else ""


def conclusions(calibration: Calibration) -> list[str]:
    """Return the last lines of the output: the result for each kind of session, and the answer
    in the last line.
    """
    lines = [
        _of_kind(calibration, kind) for kind in calibration.kinds if kind in calibration.trusted
    ]
    if not is_concluded(calibration):
        unknown = [kind for kind in calibration.kinds if kind not in calibration.trusted]
        causes = " and ".join(dict.fromkeys(calibration.ended[kind] for kind in unknown))
        return [
            *lines,
            f"no conclusion for {' and '.join(unknown)} sessions: {causes} set the limit",
        ]
    if calibration.quick:
        lines.append(
            "this is a rough result: few loads were tested, each for a short time; leave --quick"
            " out for a precise one"
        )
    exact = min(load.sessions for load in calibration.exact.values())
    return [
        *lines,
        f"errors are within 100 µs (p99) up to {exact:,} sessions per process",
        _answer(calibration),
    ]


def _of_kind(calibration: Calibration, kind: SessionKind) -> str:
    """Return the result of one kind of session.

    An example is `text: within 1 ms up to 700 sessions (17,900 events/s), within 100 µs up to 400;
    96 kB per session`.
    """
    trusted = calibration.trusted[kind]
    exact = calibration.exact[kind]
    steps = [step for step in calibration.steps if step.kind == kind]
    memory = bytes_per_session(steps) or 0.0
    parts = [
        (
            f"{kind}: within 1 ms up to"
            f" {at_least(calibration.ended.get(kind, ''))}{trusted.sessions:,} sessions"
            f" ({trusted.events_per_s:,.0f} events/s), within 100 µs up to {exact.sessions:,}"
        ),
        f"{memory / 1000:,.0f} kB per session" if memory >= 1000 else "",
        next(
            (few_turns(step) for step in reversed(steps) if step.sessions == trusted.sessions), ""
        ),
    ]
    return join_present("; ", *parts)


def _answer(calibration: Calibration) -> str:
    kind, lowest = min(
        calibration.trusted.items(),
        key=lambda pair: (pair[1].sessions, pair[0] in calibration.ended),
    )
    cause = calibration.ended.get(kind, "")
    trusted = f"trust this machine up to {at_least(cause)}{lowest.sessions:,} sessions per process"
    return (
        f"{trusted}; {cause}, not the load generator, ended the calibration" if cause else trusted
    )
