"""A talk whose reply is played."""

from __future__ import annotations

from bench.observe import inputs
from bench.plan.turn_plan import InterruptionKind
from bench.services.openai.dialect import GA
from tests.helpers import (
    MS,
    Talk,
    base64_of,
    created,
    done,
    message,
    part_done,
)

SECOND = base64_of(48_000)
"""One second of silence in Base64."""


def audio(item_id: str = "item_a", payload: str = SECOND, response_id: str = "r1") -> bytes:
    fields = {"response_id": response_id, "item_id": item_id, "delta": payload}
    return message("response.output_audio.delta", **fields)


def playing(
    kind: InterruptionKind = "speech",
    *,
    seconds: int = 4,
    whole: bool = False,
    verify: bool = False,
) -> Talk:
    """Return a talk with a reply. `seconds` seconds of the reply arrive at 100 ms, and their
    playback starts at 150 ms.

    If `whole`, the response is done.
    """
    talk = Talk(service_responds=True)
    talk.ask(0, jitter_buffer_ns=50 * MS)
    talk.timeline.apply(inputs.InterruptionAwaited(kind, verify))
    talk.hear(
        100,
        created("r1"),
        message("response.output_item.added", response_id="r1", item={"id": "item_a"}),
    )
    talk.hear(100, *[audio() for _ in range(seconds)])
    if whole:
        talk.hear(110, part_done(GA, "audio", "r1"), done("r1"))
    return talk
