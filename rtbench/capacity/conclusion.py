"""The conclusion of a search: which loads pass, which fail, and why. Pure.

With levels, only they decide what passes and what fails. Without them, the range of the ramps does.
"""

from collections.abc import Sequence

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from reports.results.value import RESULT_OF_STATUS, Reason, VerdictStatus
from rtbench.capacity.document import (
    SCHEMA_VERSION,
    CapacityDocument,
    Ended,
    LevelEntry,
    SearchPlan,
)


def conclude(
    plan: SearchPlan,
    estimate: Reason,
    curve: Sequence[LevelEntry],
    levels: Sequence[LevelEntry],
    *,
    ended: Ended,
    notes: Sequence[Reason],
    date_utc: str,
    target: str,
    scenario: str,
) -> CapacityDocument:
    """Return the conclusion of a search, without texts. `estimate` is the answer of its ramps, and
    `notes` are those on the ramps.
    """
    failing = [level for level in levels if level.result == "fail"]
    lowest = min(failing, key=lambda level: level.load, default=None)
    lowest_fail = lowest.load if lowest else None
    highest_pass = max((level.load for level in levels if level.result == "pass"), default=None)
    status = status_of(plan, estimate, levels, highest_pass, lowest_fail)
    return CapacityDocument(
        schema=SCHEMA_VERSION,
        date_utc=date_utc,
        target=target,
        scenario=scenario,
        simulated=any(entry.simulated for entry in (*curve, *levels)),
        plan=plan,
        estimate=estimate,
        curve=list(curve),
        levels=list(levels),
        highest_pass=highest_pass,
        lowest_fail=lowest_fail,
        breaking_point=breaking_point(lowest) if lowest else None,
        ended=ended,
        notes=[*notes, *_notes(levels)],
        result=RESULT_OF_STATUS[status],
        exit_status=status,
        headline="",
    )


def status_of(
    plan: SearchPlan,
    estimate: Reason,
    levels: Sequence[LevelEntry],
    highest_pass: int | None,
    lowest_fail: int | None,
) -> VerdictStatus:
    """Return the exit status of a search. It passes if the required load passed; if none is
    required, if any load did. It fails if the first load, and so each, surely violates the
    threshold.
    """
    ends = highest_pass, lowest_fail
    is_sure = estimate.code == "fails_at_first"
    if not levels and (is_sure or not plan.verify):
        ends = estimate.numbers.get("low"), estimate.numbers.get("high")
    passes, fails = ends
    if passes is not None and passes >= (plan.required or 1):
        return PASS_STATUS
    if fails is not None and fails <= (plan.required or (fails if is_sure else 1)):
        return FAIL_STATUS
    last = levels[-1].result if levels else None
    is_invalid = estimate.code == "unknown" or last == "not_evaluated"
    return INVALID_STATUS if is_invalid else INCONCLUSIVE_STATUS


def _notes(levels: Sequence[LevelEntry]) -> list[Reason]:
    """Return the notes on single levels that a reader needs in addition to the result."""
    judged = {level.load for level in levels if level.result != "not_evaluated"}
    silent = {level.load: level.why for level in levels if level.why and level.load not in judged}
    notes = [Reason("level_silent", {"load": load, "reason": why}) for load, why in silent.items()]
    undecided = [level.load for level in levels if level.result == "inconclusive"]
    return [*notes, *([Reason("undecided", {"loads": undecided})] if undecided else [])]


def breaking_point(level: LevelEntry) -> Reason:
    """Return why the lowest failing level failed: the main cause of violations of its worst
    threshold.
    """
    # the list is empty if the level failed only at an early analysis
    exceeded = [share for share in level.violations if share.value.low > share.limit]
    worst = max(exceeded or level.violations, key=lambda share: share.value.low / share.limit)
    causes = level.causes(worst)
    numbers = {"threshold": worst.threshold, "turns": worst.value.n} | causes
    if causes["slow"] > causes["failed"]:
        return Reason("latency", numbers)
    if 2 * causes["throttled"] >= causes["failed"]:
        return Reason("quota", numbers | {"rate_limits_remaining": level.rate_limits_remaining})
    return Reason("failures", numbers)
