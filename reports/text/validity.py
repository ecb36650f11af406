"""Texts on the validity of a run, on the accuracy of its timestamps, and on the outcomes of its
turns and sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from msgspec import structs

from bench.catalogue.outcomes import meaning
from reports.analysis.summary.run_validity import RunValidity, busiest
from reports.data.runs import RunFrames, hosts_of
from reports.formatting import breakable, count, join_words, plural
from reports.results.value import Reason, ValidityEntry, unique
from reports.text.phrases import CHECKS, as_sentence
from reports.text.reasons import reason_line, reason_text, reasons_text

if TYPE_CHECKING:
    from reports.analysis.summary.outcomes import OutcomeCount, Remedy
    from reports.analysis.summary.summary import Summary

LEAD = "Do not use these results"


def with_messages(validity: ValidityEntry) -> ValidityEntry:
    """Return the validity with its reasons as lines, each line once."""
    lines = dict.fromkeys(breakable(reason_line(reason)) for reason in validity.reasons)
    return structs.replace(validity, messages=list(lines))


def run_status(verdict: str, *, usable: bool) -> str:
    """Return the verdict on a run. If the run is VALID, but not usable in a comparison, return
    INVALID COMPARISON.
    """
    return "INVALID COMPARISON" if verdict == "VALID" and not usable else verdict


def do_not_use(reasons: Iterable[Reason]) -> str:
    """Return a sentence that begins with `Do not use these results`. It has each reason once."""
    return f"{LEAD}: {reasons_text(reasons)}."


def summarized(reasons: Sequence[Reason]) -> list[Reason]:
    """Return the reasons, with one in place of several differences of the workload, which a
    table lists.
    """
    differences = [reason for reason in reasons if reason.code == "workload_differs"]
    if len(differences) < 2:
        return [*reasons]
    one = Reason(
        "workloads_differ", {"conditions": [reason.numbers["condition"] for reason in differences]}
    )
    return unique(one if reason in differences else reason for reason in reasons)


def verdict_count(verdict: RunValidity) -> str:
    """Return the number of checks that passed or failed, such as `3 of 3 checks passed` or `1 of 1
    check failed`. If there is no verdict, return the reason.
    """
    judged = [check for check in verdict.checks if check.result != "not_evaluated"]
    if verdict.status == "no_verdict" or not judged:
        return verdict_reason(verdict)
    if verdict.failed:
        return f"{len(verdict.failed)} of {plural(len(judged), 'check')} failed"
    return f"{len(judged)} of {plural(len(judged), 'check')} passed"


def verdict_reason(verdict: RunValidity) -> str:
    """Return the reason for a verdict. Examples: `every check that applies passed`, `audio was sent
    late`, `the run has not ended`.
    """
    if verdict.status == "no_verdict":
        (reason,) = verdict.reasons
        return reason_text(
            Reason(reason.code, {key: n for key, n in reason.numbers.items() if key != "status"})
        )
    if verdict.status == "valid":
        return "every check that applies passed"
    return "; ".join(CHECKS[check.name].failure for check in verdict.failed) or "a check failed"


NOT_CALIBRATED = "not calibrated: run `rtbench calibrate` to measure the accuracy of this machine"
ABOVE_MEAN = 1.1
"""The factor by which the event rate in the busiest seconds may exceed that of the calibration,
which is a mean."""


def accuracy_notes(summary: Summary) -> list[str]:
    """Return sentences on the accuracy of each machine. If there are several hosts, a sentence
    begins with the host's name. The name keeps its letter case.
    """
    several = len(hosts_of(summary.run.metadata)) > 1
    is_valid = summary.validity.status == "valid"
    return [
        f"{line}." if several else as_sentence(line)
        for line in trust(summary.run, is_valid=is_valid)
    ]


def trust(run: RunFrames, *, is_valid: bool = True) -> list[str]:
    """Return the calibration that a run used, and the load that exceeded it. If there are several
    hosts, return only the load of each host that exceeded its calibration. Return the lack of a
    calibration only if the run is not valid: a calibration then shows which load is.
    """
    hosts = hosts_of(run.metadata)
    if len(hosts) > 1:  # another table has the calibrations of the hosts
        cited = [(host["name"], host["calibration"]) for host in hosts if host.get("calibration")]
        mine = {name: run.seconds[(run.seconds["host"] == name).to_numpy()] for name, _ in cited}
        return [
            f"{name}: {line}"
            for name, calibration in cited
            for line in beyond_calibration(calibration, mine[name])
        ]
    if "calibration" not in run.metadata:
        return []
    if calibration := run.metadata["calibration"]:
        return [cited_line(calibration), *beyond_calibration(calibration, run.seconds)]
    return [] if is_valid else [NOT_CALIBRATED]


def cited_line(cited: dict[str, Any]) -> str:
    """Return a text on a calibration, such as `calibrated on 2026-11-20, with another kernel:
    error p99 ≤ …`.
    """
    stale = f", {join_words(cited['stale'])}" if cited["stale"] else ""
    sessions = (
        f"{'at least ' if cited.get('ended') else ''}{count(cited['sessions'])} {cited['kind']}"
        " sessions"
    )
    return (
        f"calibrated on {cited['date']}{stale}: error p99 ≤ 1 ms up to {sessions} per process, "
        f"{count(cited['events_per_s'])} events/s"
    )


def beyond_calibration(cited: dict[str, Any], seconds: pd.DataFrame) -> list[str]:
    """Return a text on the load of one process that exceeded its calibration, and on what ended the
    calibration. Return [] if the load did not exceed it.
    """
    sessions, events_per_s = busiest(seconds)
    more = [f"{count(sessions)} sessions"] if sessions > cited["sessions"] else []
    more += (
        [f"{count(events_per_s)} events/s"]
        if events_per_s > cited["events_per_s"] * ABOVE_MEAN
        else []
    )
    ended = f" (ended by {cited['ended']}, not by the load generator)" if cited.get("ended") else ""
    return (
        [f"this run exceeded its calibration{ended}: {join_words(more)} in one process"]
        if more
        else []
    )


def ending_text(ending: OutcomeCount) -> str:
    """Return the meaning of an outcome. If it has a message, it follows in quotation marks."""
    text = meaning(ending.outcome, of_session=ending.of_session)
    return f"{text}: “{ending.message}”" if ending.message else text


def remedy_line(remedy: Remedy) -> str:
    """Return a remedy with its outcomes, such as `closed:1011, closed:1006: the connection was
    cut: …`.
    """
    return f"{', '.join(remedy.outcomes)}: {remedy.text}"
