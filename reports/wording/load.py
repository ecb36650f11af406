"""The load of a run in words: who called, how often, with what, and for how long."""

from __future__ import annotations

from reports.numbers import count, listed, plural
from reports.summary.summary import Summary
from reports.wording import remarks, words

NAMED = 5
"""Number of scripts that are named one by one."""


def load_line(summary: Summary) -> str:
    """8 users · 58 calls, 217 turns: text_turns 183, voice_turns 34 · 20 min measured · eastus2 and sweden."""
    targets = listed(list(summary.targets)) if len(summary.targets) > 1 else ""
    return " · ".join(filter(None, [_offered(summary), _played(summary), words.lasted(summary), targets]))


def _offered(summary: Summary) -> str:
    """8 users; poisson, 30/min; up to 20 users in stages; empty if the run does not say."""
    if summary.arriving is not None:
        return remarks.asked(summary.arriving)
    settings = summary.run.metadata.get("settings") or {}
    users = settings.get("num_users")
    if settings.get("stages"):
        most = summary.run.metadata.get("concurrency")
        return f"up to {plural(int(most), 'user')} in stages" if most else "users in stages"
    return plural(int(users), "user") if users else ""


def _played(summary: Summary) -> str:
    """58 calls, 217 turns: text_turns 183, voice_turns 34; the measured ones, by script if there are several."""
    calls, turns = summary.outcomes.opened, summary.outcomes.begun
    said = f"{plural(calls, 'call')}, {plural(turns, 'turn')}"
    frame = summary.turns.frame
    if "script" not in frame:
        return said
    scripts = frame["script"].iloc[summary.turns.rows].value_counts()
    named = [f"{name} {count(number)}" for name, number in scripts.items() if number]
    if len(named) < 2:
        return said
    more = [f"{len(named) - NAMED} other scripts"] if len(named) > NAMED else []
    return f"{said}: {', '.join([*named[:NAMED], *more])}"
