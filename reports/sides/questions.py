"""What may be asked of sides: a question by each origin of their turns, and what is asked by default; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.measures import CATALOGUE
from reports.question import MARGINS, POINTS, Question, margin_of
from reports.sides.side import Side
from reports.statistics.differences import Margin
from reports.turns import ORIGINS

SET_APART = ("origin", "speech_end")
"""Measures that begin at one of these stand apart by what started the response."""
HEARD = "voice_to_voice"
MAIN = "ttfa"
"""The main measure of sides without any turn."""
BESIDE = (
    *((HEARD, 0.5), (HEARD, 0.95), ("response_total", 0.5), ("transcript_total", 0.5), ("input_transcript", 0.5)),
    *(("connect_total", 0.5), ("session_ready", 0.5)),
)
"""Quantiles that are compared beside those of the main measure."""


def by_origin(question: Question, sides: Sequence[Side]) -> list[Question]:
    """The question as it may be asked of these sides: where they have turns of several origins, of each that all have.

    Measures that count from the turn's origin, or from the end of speech, are never pooled over what started the
    response; rates and means are. Without an origin in common the baseline's is asked for, and has no answer. So is,
    of what is gated, any origin that the baseline has and another side lacks: a gate does not vanish.
    """
    if question.origin or question.kind != "quantile" or CATALOGUE[question.measure].begin not in SET_APART:
        return [question]
    begun = [_begun(side, question.step) for side in sides]
    if len({origin for of in begun for origin, n in of.items() if n}) < 2:
        return [question]
    common = _common(begun)
    if CATALOGUE[question.measure].begin != "origin" and not common:
        return [question]  # from the end of speech on either side
    first = max(begun[0], key=lambda origin: begun[0][origin])
    lacked = [origin for origin, n in begun[0].items() if n and origin not in common] if question.gated else []
    return [replace(question, origin=origin) for origin in [*common, *lacked] or [first]]


def common_origins(sides: Sequence[Side]) -> list[str]:
    """What turns of all sides count from, the commonest first; a side without a turn has no say."""
    return _common([side.begun for side in sides])


def _common(begun: Sequence[Mapping[str, int]]) -> list[str]:
    known = [of for of in begun if any(of.values())]
    common = [origin for origin in ORIGINS if known and all(of[origin] for of in known)]
    return sorted(common, key=lambda origin: -sum(of[origin] for of in known))


def _begun(side: Side, step: str) -> dict[str, int]:
    """How many turns of a step, or of all, count from each origin."""
    if not step:
        return side.begun
    steps = side.turns.step[side.here]
    asked = {origin: Question(MAIN, "quantile", Margin(), origin=origin, step=step) for origin in ORIGINS}
    return {origin: int(side.steps(one)[steps].sum()) for origin, one in asked.items()}


def default_questions(sides: Sequence[Side]) -> list[Question]:
    """What is asked where the user asks for nothing in particular, the gated ones first.

    Gated are p50 and p95 of the main measure, by the commonest origin that all sides have, and the failures; and by
    origins that the baseline has and another side lacks. Where sides have no origin in common, what callers hear takes
    its place: it has one definition whatever starts the reply.
    """
    origins = common_origins(sides)
    lacked = [origin for origin, n in sides[0].begun.items() if n and origin not in origins] if origins else []
    apart = len({origin for side in sides for origin, n in side.begun.items() if n}) > 1
    begun = any(n for side in sides for n in side.begun.values())
    main = _main(sides, origins[0]) if origins else HEARD if begun else MAIN
    first = origins[0] if apart and origins else ""
    mains = [(first, main), *((origin, sides[0].mains[origin]) for origin in lacked)]
    gated = [Question(name, "quantile", margin_of(p), p, True, at) for at, name in mains for p in (0.5, 0.95)]
    failures = Question("failures", "rate", Margin(points=POINTS), gated=True)
    others = [(origin, _main(sides, origin)) for origin in origins[1:]]
    paired = all(side.paired for side in sides)
    centre = [Question(main, "centre", Margin(ratio=MARGINS[0.5]), origin=first)] if paired else []
    rest = [
        *(one for one in centre if int(sides[0].steps(one).sum()) > 1),
        *(Question(main, "quantile", margin_of(p), p, origin=first) for p in (0.9, 0.99)),
        *(Question(name, "quantile", margin_of(p), p, origin=at) for at, name in others for p in (0.5, 0.95)),
        *(
            asked
            for name, p in BESIDE
            if name != main
            for asked in by_origin(Question(name, "quantile", margin_of(p), p), sides)
        ),
        *(Question(name, "rate", Margin(points=POINTS)) for name in ("stalled", "throttled")),
        Question("audio_speed", "mean", Margin(ratio=MARGINS[0.5])),
    ]
    return [*gated, failures, *(question for question in rest if _told(question, sides))]


def _main(sides: Sequence[Side], origin: str) -> str:
    """The main measure of most of the sides that have turns of an origin."""
    named = [side.mains[origin] for side in sides if side.begun[origin]]
    return max(named, key=named.count)


def _told(question: Question, sides: Sequence[Side]) -> bool:
    """Whether the baseline and another side have the figure; nothing is said of throttling where there was none."""
    if question.measure == "throttled":
        return any(side.events(question) for side in sides)
    return sides[0].has(question) and any(side.has(question) for side in sides[1:])
