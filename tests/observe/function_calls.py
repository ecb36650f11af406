"""Events of replies with function calls."""

from __future__ import annotations

from typing import Any

from bench.observe import inputs
from bench.observe.observation import TurnObservation
from tests.helpers import LOUD, MS, Talk, at, created, done, message, speaks, usage


def item(kind: str, response_id: str, item_id: str, **fields: Any) -> bytes:
    """Return the event that reports an item of a response. `kind` is `added` or `done`."""
    described = {"id": item_id, "type": "message"} | fields
    return message(f"response.output_item.{kind}", response_id=response_id, item=described)


def call_added(response_id: str, call_id: str, name: str) -> bytes:
    return item(
        "added", response_id, f"item_{call_id}", type="function_call", call_id=call_id, name=name
    )


def function_call_done(response_id: str, call_id: str, arguments: str = "{}") -> bytes:
    fields = {
        "response_id": response_id,
        "item_id": f"item_{call_id}",
        "call_id": call_id,
        "arguments": arguments,
    }
    return message("response.function_call_arguments.done", **fields)


def audio(response_id: str, item_id: str, payload: str = LOUD) -> bytes:
    fields = {"response_id": response_id, "item_id": item_id, "delta": payload}
    return message("response.output_audio.delta", **fields)


def called(talk: Talk, at_ms: float = 100, response_id: str = "r1", *call_ids: str) -> None:
    """Receive a response that calls functions, one every 10 ms.

    The response is done 15 ms after its last function call was added.
    """
    talk.hear(at_ms, created(response_id))
    for number, call_id in enumerate(call_ids or ("c1",), 1):
        talk.hear(at_ms + 10 * number, call_added(response_id, call_id, f"function_{call_id}"))
        talk.hear(at_ms + 10 * number + 5, function_call_done(response_id, call_id))
    talk.hear(at_ms + 10 * len(call_ids or ("c1",)) + 15, done(response_id))


def answer_call(talk: Talk, at_ms: float, *call_ids: str, wrong: str = "") -> None:
    for call_id in call_ids:
        talk.timeline.apply(inputs.FunctionOutputSent(call_id, at(at_ms), wrong))
    talk.send(at_ms + 1, "response.create")


def final_response(talk: Talk, at_ms: float, response_id: str = "r2") -> TurnObservation:
    talk.hear(
        at_ms, created(response_id), audio(response_id, f"item_{response_id}"), done(response_id)
    )
    return talk.only()


def talk_with_filler(*, service_responds: bool = False) -> Talk:
    """Return a talk in which the service waits for the result of a function. It sends a filler
    from 400 to 600 ms.
    """
    talk = Talk(service_responds=service_responds)
    if service_responds:
        speaks(talk, end_ms=50, functions=True)
        talk.hear(
            80,
            *(
                message(f"input_audio_buffer.{name}", item_id="item_1")
                for name in ("speech_stopped", "committed")
            ),
        )
    else:
        talk.ask(0, functions=True, jitter_buffer_ns=50 * MS)
    called(talk)
    talk.hear(400, created("rf"), audio("rf", "item_f"))
    talk.hear(600, done("rf", usage=usage(audio_out=20)))
    return talk
