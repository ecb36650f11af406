"""Synthetic runs whose callers pause in their speech, with known turn-taking."""

from __future__ import annotations

from tests.helpers import MS
from tests.reports.edited import Row
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=160, turns=5, targets=("west", "east"), paired=True)
ONE = Plan(sessions=40, turns=5)
SILENCE_MS = {"west": 700, "mid": 780, "east": 860, "sim": 700}
LADDER_MS = range(300, 1_021, 40)


def turn_taking(index: int, row: Row) -> Row:
    """Make a turn with a pause of each session, a turn after a sound, one that interrupts, and
    one without answer.
    """
    number = index // PLAN.turns // 2
    odd, target = number % 2 == 1, row["target"]
    match row["turn"]:
        case 1:
            pause_ms = LADDER_MS[number % len(LADDER_MS)]
            return row | {
                "speech_pause_ns": pause_ms * MS,
                "cut_off": pause_ms > SILENCE_MS[target],
            }
        case 2:
            return row | {"cut_off": False, "false_reply": odd and target == "east"}
        case 3:
            return row | {"cut_off": False, "yielded": target == "west" or odd}
        case 4 if odd and target == "east":
            return row | {"cut_off": False, "outcome": "timeout:end_of_turn"}
    return row | {"cut_off": False}
