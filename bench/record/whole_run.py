"""The plan of a whole run that independent load generators execute in equal parts, and the share of
each part. Pure.

No part knows which of the parts it is. Therefore all shares are equal, and the plan must be
divisible.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.base.errors import UsageError

# A platform starts N equal load generators, tells none of them its number, and may start one less.
# So each part states the same plan in its run.json, and takes the N-th of it. Only the merged run
# can compare the sum with the plan. Budgets and rates may be fractions. Whole numbers must be
# divisible, because a remainder would need a part that knows that it is the one to take it.
Load = Mapping[str, float]
"""Quantities of a load, by the names of QUANTITIES. A quantity without a limit is absent."""
PARTS = "parts"
MAX_COUNT = 1_000_000_000
MAX_PARTS = 10_000
"""The maximum values of a quantity, and of the number of parts. Each missing part is an entry of
a merged run."""
QUANTITIES: Mapping[str, str] = {
    "users": "{:,.0f} users",
    "sessions": "{:,.0f} sessions",
    "max_concurrent": "{:,.0f} concurrent calls",
    "arrival_rate": "{:g} calls/s",
    "connect_rate": "{:g} connections/min",
    "budget": "{:g} USD",
}
"""The quantities that are divided among parts, each with the form in which it is printed."""
WHOLE = ("users", "sessions", "max_concurrent")
"""The quantities that are whole numbers."""


def problem_of(load: Load, whole: Load | None) -> str:
    """Return what is wrong with a recorded load of a part, or with its plan; "" if nothing is.
    Files may be damaged.
    """
    for key, numbers in (("planned_load", load), ("whole_run", whole or {})):
        for name, value in numbers.items():
            if not 0 <= value <= MAX_COUNT:
                return f"{key}.{name} must be a number from 0 to {MAX_COUNT:,}"
    parts = None if whole is None else whole.get(PARTS)
    if whole is not None and (parts is None or parts % 1 or not 1 <= parts <= MAX_PARTS):
        return f"whole_run.{PARTS} must be a whole number from 1 to {MAX_PARTS:,}"
    return ""


def shares(whole: Load) -> dict[str, float]:
    """Return the share of one part, without `users`, which the platform may have divided. Raise
    UsageError.

    An error means that a whole number cannot be divided.
    """
    parts = int(whole[PARTS])
    taken = {}
    for name in QUANTITIES:
        if name == "users" or name not in whole:
            continue
        if name in WHOLE and whole[name] % parts:
            below = int(whole[name] // parts * parts)
            near = f"{below:,} or {below + parts:,}" if below else f"{parts:,}"
            raise UsageError(
                f"--whole-run: {QUANTITIES[name].format(whole[name])} cannot be divided into"
                f" {parts} equal parts: use {near}"
            )
        taken[name] = whole[name] // parts if name in WHOLE else whole[name] / parts
    return taken


def users_of_part(whole: Load, given: int | None) -> int | None:
    """Return the users of a part: `given`, which must be its share, or the share; None if the plan
    states no users.

    Raise UsageError if the given number is not a share, rounded down or up.
    """
    if "users" not in whole:
        return given
    parts = int(whole[PARTS])
    users = int(whole["users"])
    share, rest = divmod(users, parts)
    allowed = {share, share + bool(rest)} - {0}
    if given is None and rest == 0 and share:
        return share
    if given not in allowed:
        wanted = " or ".join(f"{number:,}" for number in sorted(allowed))
        has = "no number of users" if given is None else f"{given:,} users"
        raise UsageError(
            f"--whole-run: this run has {has}, but one of {parts} parts of {users:,} users has"
            f" {wanted}: set --users (LOCUST_USERS), or the number of parts, so that each part has"
            " its share"
        )
    return given


def share_text(name: str, load: Load, whole: Load | None) -> str:
    """Return what a part of the run `name` takes as its share of `whole`, which is None if it is
    not known.
    """
    if whole is None:
        limits = ", ".join(_amounts(load)) or "no limit"
        return (
            f"part of {name}: {limits} for this part alone; without --whole-run the merged run"
            " cannot state whether parts are missing"
        )
    taken = [
        f"{_number(load[key])} of {form.format(whole[key])}"
        for key, form in QUANTITIES.items()
        if key in load and key in whole
    ]
    return (
        f"part of {name}: {', '.join(taken) or 'no limit'} (1 of {int(whole[PARTS])} equal parts)"
    )


def sum_text(loads: Sequence[Load], excluded: int, whole: Load | None) -> str:
    """Return whether the parts of a merged run sum up to its plan. `excluded` is the number of
    damaged parts.
    """
    if whole is None:
        return (
            "Its parts state no plan of the whole run (--whole-run), so it is unknown whether parts"
            " are missing."
        )
    total = summed(loads)
    planned = int(whole[PARTS])
    amounts = ", ".join(
        [f"{planned} parts", *_amounts({key: whole[key] for key in QUANTITIES if key in whole})]
    )
    absent = planned - len(loads) - excluded
    more = len(loads) + excluded - planned
    differing = [
        key for key in QUANTITIES if key in whole and not _is_equal(total.get(key), whole[key])
    ]
    if not (absent or excluded or differing):
        return f"The parts sum up to the plan of the whole run: {amounts}."
    reached = ", ".join(
        [f"{len(loads)} parts", *_amounts({key: total[key] for key in differing if key in total})]
    )
    reasons = [
        (
            f"{absent} of {planned} parts {'is' if absent == 1 else 'are'} missing"
            if absent > 0
            else ""
        ),
        f"{more} more parts than planned were merged" if more > 0 else "",
    ]
    because = f" ({'; '.join(filter(None, reasons))})" if any(reasons) else ""
    return (
        f"The parts do not sum up to the plan of the whole run: {amounts} were planned, {reached}"
        f" were merged{because}."
    )


def absent_parts(present: int, whole: Load | None) -> int:
    """Return the number of planned parts of which there is no folder; 0 if the plan is not
    known.
    """
    return 0 if whole is None else max(0, int(whole[PARTS]) - present)


def summed(loads: Sequence[Load]) -> dict[str, float]:
    """Return the sum of each quantity that all parts have."""
    return {
        key: sum(load[key] for load in loads)
        for key in QUANTITIES
        if all(key in load for load in loads)
    }


def absent_turns(document: Mapping[str, Any], load: Load) -> int | None:
    """Return the maximum number of turns of a missing part, by a part with this load; None
    without a bound.
    """
    turns = [script.get("turns") for script in document.get("scripts") or []]
    if "sessions" not in load or not turns or None in turns:
        return None
    targets = len(document["targets"]) if document.get("interleaved") else 1
    return int(load["sessions"]) * targets * max(map(int, turns))


def _amounts(load: Load) -> list[str]:
    return [form.format(load[key]) for key, form in QUANTITIES.items() if key in load]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _is_equal(one: float | None, other: float) -> bool:
    return one is not None and abs(one - other) <= 1e-9 * abs(other)
