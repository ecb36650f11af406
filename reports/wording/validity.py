"""Texts on the validity of a run, on the accuracy of its timestamps, and on the outcomes of its turns and sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.catalogue.outcomes import meaning
from bench.record.document import ValidityStatus
from reports.formatting import NBSP, count, format_duration, join_words, percent, plural
from reports.json_entries import JsonEntry
from reports.runs import RunFrames, hosts_of
from reports.summary.outcomes import OutcomeCount, Remedy
from reports.summary.run_validity import NoVerdict, RunValidity, busiest, within_warmup
from reports.summary.summary import Summary
from reports.wording.cells import CHECKS, as_sentence, check_values

LEAD = "Do not use these results"
RUN = "the run"


@dataclass(frozen=True)
class InvalidReason:
    """A reason why values may not be used.

    - `code` is the code of the reason.
    - `text` is the reason as a clause.
    - `remedy` is the remedy; "" if none is known.
    - `folder` is the folder of the run. It is None if the reason is about several runs.
    """

    code: str
    text: str
    remedy: str = ""
    folder: Path | None = None

    @property
    def line(self) -> str:
        """The reason with its remedy, such as `the run is INVALID: audio was sent late (…). Lower the load.`."""
        return " ".join(filter(None, (f"{self.text.rstrip('.')}.", remedies([self]))))


class ValidityEntry(JsonEntry, frozen=True):
    """The validity of the values of a check or comparison: codes of the reasons, and the reasons in words."""

    status: ValidityStatus
    reasons: list[str]
    messages: list[str]


def validity_entry(status: ValidityStatus, causes: Sequence[InvalidReason]) -> ValidityEntry:
    """Return the validity for a document. `status` is that of the run.

    If there are `causes` and the run is valid, the entry is invalid.
    """
    if causes and status == "valid":
        status = "invalid"
    reasons = list(dict.fromkeys(cause.code for cause in causes))
    return ValidityEntry(status, reasons, list(dict.fromkeys(cause.line.replace(NBSP, " ") for cause in causes)))


def of_run(
    verdict: RunValidity, document: Mapping[str, Any], folder: Path, whose: str = RUN
) -> tuple[InvalidReason, ...]:
    """Return the reasons why the values of a run may not be used: one for each failed check. Return () if it is valid.

    `whose` is the name of the run in the texts.
    """
    if verdict.status == "valid":
        return ()
    if verdict.status == "no_verdict":
        ended = document.get("state") == "ended"
        remedy = "run `rtbench report` to see how its turns ended" if ended else "run it again and let it finish"
        remedy = "" if within_warmup(dict(document)) else remedy  # the reason contains the remedy
        code = verdict.reasons[0] if verdict.reasons else "no_data"
        return (InvalidReason(code, f"{whose} has no verdict: {verdict_reason(verdict)}", remedy, folder),)
    failed: list[tuple[str, str, str]] = [
        (check.name, f"{CHECKS[check.name].failure} ({check_values(check)})", check.remedy) for check in verdict.failed
    ]
    reasons = failed or [("no_data", verdict_reason(verdict), "")]
    return tuple(
        InvalidReason(code, f"{whose} is {verdict.title}: {reason}", remedy, folder) for code, reason, remedy in reasons
    )


def run_status(verdict: str, *, usable: bool) -> str:
    """Return the verdict on a run. If the run is VALID, but not usable in a comparison, return INVALID COMPARISON."""
    return "INVALID COMPARISON" if verdict == "VALID" and not usable else verdict


def do_not_use(causes: Sequence[InvalidReason]) -> str:
    """Return a sentence that begins with `Do not use these results`. It has each reason once."""
    return f"{LEAD}: {'; '.join(texts(causes))}."


def texts(causes: Iterable[InvalidReason]) -> list[str]:
    return list(dict.fromkeys(cause.text for cause in causes))


def remedies(causes: Iterable[InvalidReason]) -> str:
    """Return all remedies as sentences, each one once; "" if none is known."""
    known = dict.fromkeys(cause.remedy.rstrip(". ") for cause in causes if cause.remedy)
    return " ".join(map(as_sentence, known))


def run_title(labels: Sequence[str], *, only: bool) -> str:
    """Return the name of a run in a sentence: `the run` if it is the only one, otherwise such as `the run of new`."""
    return RUN if only else f"{RUN} of {join_words(list(labels))}"


def over_the_limit(share: float) -> str:
    """Return a text on the throttled share, such as `3.1 % of turns or sessions were throttled (limit 1 %)`."""
    return f"{percent(share, 1)} of turns or sessions were throttled (limit 1{NBSP}%)"


def verdict_count(verdict: RunValidity) -> str:
    """Return the number of checks that passed or failed, such as `3 of 3 checks passed` or `1 of 1 check failed`.

    If there is no verdict, return the reason.
    """
    judged = [check for check in verdict.checks if check.result != "not_evaluated"]
    if verdict.status == "no_verdict" or not judged:
        return verdict_reason(verdict)
    if verdict.failed:
        return f"{len(verdict.failed)} of {plural(len(judged), 'check')} failed"
    return f"{len(judged)} of {plural(len(judged), 'check')} passed"


def verdict_reason(verdict: RunValidity) -> str:
    """Return the reason for a verdict.

    Examples: `every check that applies passed`, `audio was sent late`, `the run has not ended`.
    """
    if verdict.not_judged is not None:
        return no_verdict_reason(verdict.not_judged)
    if verdict.status == "valid":
        return "every check that applies passed"
    return "; ".join(CHECKS[check.name].failure for check in verdict.failed) or "a check failed"


def no_verdict_reason(no_verdict: NoVerdict) -> str:
    """Return the reason why a run has no verdict, such as `the run has not ended`.

    If the reason is a long warm-up, the text includes the remedy: `the warm-up of 30 s contains all 12 turns: …`.
    """
    if no_verdict.kind == "unknown":
        return no_verdict.note
    if no_verdict.kind == "warm-up":
        turns = "the only turn" if no_verdict.turns == 1 else f"all {plural(no_verdict.turns, 'turn')}"
        took = f"the warm-up of {format_duration(no_verdict.warmup_s)} contains {turns}"
        return f"{took}: no session started after it; use a longer run or --warmup 0"
    return {
        "running": "the run has not ended",
        "closing": "the run has not been finalized",
        "killed": "the run was killed before it was evaluated",
        "nothing": "nothing was measured",
    }[no_verdict.kind]


NOT_CALIBRATED = "not calibrated: run `rtbench calibrate` to measure the accuracy of this machine"
ABOVE_MEAN = 1.1
"""The factor by which the event rate in the busiest seconds may exceed that of the calibration, which is a mean."""


def accuracy_notes(summary: Summary) -> list[str]:
    """Return sentences on the accuracy of each machine.

    If there are several hosts, a sentence begins with the host's name.

    The name keeps its letter case.
    """
    several = len(hosts_of(summary.run.metadata)) > 1
    return [f"{line}." if several else as_sentence(line) for line in trust(summary.run)]


def trust(run: RunFrames) -> list[str]:
    """Return the calibration that a run used, and the load that exceeded it.

    If there are several hosts, return only the load of each host that exceeded its calibration. Return [] for a run
    that was made before calibrations existed.
    """
    hosts = hosts_of(run.metadata)
    if len(hosts) > 1:  # another table has the calibrations of the hosts
        cited = [(host["name"], host["calibration"]) for host in hosts if host.get("calibration")]
        mine = {name: run.seconds[(run.seconds["host"] == name).to_numpy()] for name, _ in cited}
        return [
            f"{name}: {line}" for name, calibration in cited for line in beyond_calibration(calibration, mine[name])
        ]
    if "calibration" not in run.metadata:
        return []
    if calibration := run.metadata["calibration"]:
        return [cited_line(calibration), *beyond_calibration(calibration, run.seconds)]
    return [NOT_CALIBRATED]


def cited_line(cited: dict[str, Any]) -> str:
    """Return a text on a calibration, such as `calibrated on 2026-11-20, with another kernel: error p99 ≤ …`."""
    stale = f", {join_words(cited['stale'])}" if cited["stale"] else ""
    sessions = f"{'at least ' if cited.get('ended') else ''}{count(cited['sessions'])} {cited['kind']} sessions"
    return (
        f"calibrated on {cited['date']}{stale}: error p99 ≤ 1 ms up to {sessions} per process, "
        f"{count(cited['events_per_s'])} events/s"
    )


def beyond_calibration(cited: dict[str, Any], seconds: pd.DataFrame) -> list[str]:
    """Return a text on the load of one process that exceeded its calibration, and on what ended the calibration.

    Return [] if the load did not exceed it.
    """
    sessions, events_per_s = busiest(seconds)
    more = [f"{count(sessions)} sessions"] if sessions > cited["sessions"] else []
    more += [f"{count(events_per_s)} events/s"] if events_per_s > cited["events_per_s"] * ABOVE_MEAN else []
    ended = f" (ended by {cited['ended']}, not by the load generator)" if cited.get("ended") else ""
    return [f"this run exceeded its calibration{ended}: {join_words(more)} in one process"] if more else []


def ending_text(ending: OutcomeCount) -> str:
    """Return the meaning of an outcome. If it has a message, it follows in quotation marks."""
    text = meaning(ending.outcome, of_session=ending.of_session)
    return f"{text}: “{ending.message}”" if ending.message else text


def endings_text(sessions: Mapping[str, int]) -> str:
    """Return the outcomes of sessions as a text, such as `3 sessions ended as connect_failed:401`.

    If there are several outcomes, the text has the count of each.
    """
    ends = [f"{count(n)} × {outcome}" for outcome, n in sessions.items()] if len(sessions) > 1 else [*sessions]
    return f"{plural(sum(sessions.values()), 'session')} ended as {join_words(ends)}"


def remedy_line(remedy: Remedy) -> str:
    """Return a remedy with its outcomes, such as `closed:1011, closed:1006: the connection was cut: …`."""
    return f"{', '.join(remedy.outcomes)}: {remedy.text}"
