"""The sentences and the remedies of the reasons why values may not be used, or why a run has no
verdict.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bench.record.document import Check
from reports.analysis.summary.targets import FAIR
from reports.formatting import count, excerpt, format_duration, join_words, percent, plural
from reports.statistics.differences import LEVEL
from reports.statistics.unseen import sessions_without
from reports.text.phrases import CHECKS, check_values
from reports.text.settings import condition_name

Numbers = Mapping[str, Any]
Sentence = str | Callable[[Numbers], str]
"""A text, or a function that writes one with the numbers of a reason."""
RUN = "the run"
NAMED = 4
"""The maximum number of different conditions that a sentence names. A table has all of them."""


def over_the_limit(share: float) -> str:
    """Return a text on the throttled share, such as `3.1 % of turns or sessions were throttled
    (limit 1 %)`.
    """
    return f"{percent(share, 1)} of turns or sessions were throttled (limit {percent(FAIR, 1)})"


def endings_text(sessions: Mapping[str, int]) -> str:
    """Return the outcomes of sessions as a text, such as `3 sessions ended as connect_failed:401`.
    If there are several outcomes, the text has the count of each.
    """
    ends = (
        [f"{count(n)} × {outcome}" for outcome, n in sessions.items()]
        if len(sessions) > 1
        else [*sessions]
    )
    return f"{plural(sum(sessions.values()), 'session')} ended as {join_words(ends)}"


def run_title(labels: list[str]) -> str:
    """Return the name of a run in a sentence: `the run`, or such as `the run of new` if the
    targets are named.
    """
    return f"{RUN} of {join_words(labels)}" if labels else RUN


def _of_run(write: Sentence, numbers: Numbers) -> str:
    """Return why a run is invalid or has no verdict. The text names the run, unless the sentence
    is about no run.
    """
    text = write if isinstance(write, str) else write(numbers)
    if "status" not in numbers:
        return text
    is_invalid = numbers["status"] == "invalid"
    return (
        f"{run_title(numbers['labels'])} {'is INVALID' if is_invalid else 'has no verdict'}: {text}"
    )


def failed_check(name: Any, numbers: Numbers) -> Check:
    """Return the check that a reason is about."""
    texts = numbers.get("note", ""), numbers.get("remedy", "")
    return Check(name, numbers["value"], numbers["limit"], "fail", *texts, numbers["unit"])


def _check(name: Any, numbers: Numbers) -> str:
    check = failed_check(name, numbers)
    return f"{CHECKS[check.name].failure} ({check_values(check)})"


def _within_warmup(numbers: Numbers) -> str:
    turns = "the only turn" if numbers["turns"] == 1 else f"all {plural(numbers['turns'], 'turn')}"
    took = f"the warm-up of {format_duration(numbers['warmup_s'])} contains {turns}"
    return f"{took}: no session started after it; use a longer run or --warmup 0"


def _without_turns(numbers: Numbers) -> str:
    outcomes = numbers["outcomes"]
    return f"{numbers['target']} has no turns{f': {endings_text(outcomes)}' if outcomes else ''}"


def _throttled(numbers: Numbers) -> str:
    target = numbers.get("target")
    return f"{f'{target}: ' if target else ''}{over_the_limit(numbers['share'])}"


def _workload_differs(numbers: Numbers) -> str:
    values = ", ".join(
        f"{excerpt(text, 90)} in {target}" for target, text in numbers["values"].items()
    )
    return f"{condition_name(numbers['condition'])}: {values}"


def _workloads_differ(numbers: Numbers) -> str:
    named = numbers["conditions"][:NAMED]
    others = len(numbers["conditions"][NAMED:])
    more = [plural(others, "other condition")] if others else []
    return f"the workloads differ in {join_words([*map(condition_name, named), *more])}"


def _simulated_differs(numbers: Numbers) -> str:
    simulated = numbers["simulated"]
    return f"only {join_words(simulated)} {'was' if len(simulated) == 1 else 'were'} simulated"


def _not_started(numbers: Numbers) -> str:
    target = numbers["target"]
    lost = numbers["failed_or_not_started"]
    failed = "did not start" if numbers["not_started"] == lost else "failed or did not start"
    what = (
        f"{percent(lost, numbers['planned'])} of the planned"
        f" turns{f' of {target}' if target else ''} {failed}"
    )
    sessions = numbers.get("sessions", 0)
    limits = (f": add failure_rate: rate<{limit}%" for limit, needs in LIMITS if sessions >= needs)
    remedy = next(limits, "") if lost < numbers["planned"] else ""
    return f"{what}, but no threshold limits failures{remedy}"


LIMITS = [(limit, sessions_without(limit / 100, LEVEL) or 0) for limit in (1, 2, 5, 10, 20, 50)]
"""Limits on failures in percent, and the number of sessions that decides each."""


OF_RUN: Mapping[str, Sentence] = {
    **{name: partial(_check, name) for name in CHECKS},
    "within_warmup": _within_warmup,
    "run_not_ended": "the run has not ended",
    "run_not_finalized": "the run has not been finalized",
    "run_killed": "the run was killed before it was evaluated",
    "check_not_evaluated": lambda n: str(n["note"]),
    "check_failed": "a check failed",
    "nothing_measured": "nothing was measured",
}
SENTENCES: Mapping[str, Sentence] = {
    **{code: partial(_of_run, sentence) for code, sentence in OF_RUN.items()},
    "target_without_turns": _without_turns,
    "no_turns_and_sessions": "the run has no turns and no sessions",
    "no_pair_ended": "no pair of sessions ended",
    "aborted": lambda n: str(n["because"]),
    "throttled": _throttled,
    "workload_differs": _workload_differs,
    "workloads_differ": _workloads_differ,
    "simulated_differs": _simulated_differs,
    "not_started": _not_started,
}
"""The sentence of each code, or a function that writes it from the numbers of the reason."""


def _of_verdict(numbers: Numbers) -> str:
    ended = numbers.get("state") == "ended"
    return (
        "run `rtbench report` to see how its turns ended"
        if ended
        else "run it again and let it finish"
    )


AGAIN = (
    "run_not_ended",
    "run_not_finalized",
    "run_killed",
    "check_not_evaluated",
    "nothing_measured",
)
REMEDIES: Mapping[str, Sentence] = {
    **{name: lambda n: str(n["remedy"]) for name in CHECKS},
    **dict.fromkeys(AGAIN, _of_verdict),
    "target_without_turns": "run `rtbench report` to see why no turn started",
    "throttled": (
        f"lower the load until at most {percent(FAIR, 1)} of turns and sessions are throttled, or"
        " raise the quota, and run it again"
    ),
    **dict.fromkeys(
        ("workload_differs", "workloads_differ"),
        "run both targets with the same scripts, audio, load and warm-up",
    ),
    "simulated_differs": "measure both targets in the same way",
    "conditions_differ": (
        "Save new ones with `rtbench baseline save`, or allow the difference with --allow-different"
    ),
}
"""The remedy of each code that has one, or a function that writes it from the numbers of the
reason."""
