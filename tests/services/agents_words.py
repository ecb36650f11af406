"""The expected answers of agents to words."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

from bench.services.agents import ACS, BY_NAME, PCM, TWILIO
from bench.wire.audio import G711_ULAW, PCM16, PCM16_8K, PCM16_16K, AudioFormat
from bench.wire.dialect import BinaryMessage, CallCodec, ClientMessage, Dialect
from bench.wire.events import EventKind, ServerEvent, audio_payload
from bench.wire.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from tests.helpers import event_of

KEPT = Path(__file__).parent / "agents_words.json"
CALL_ID = "0123456789abcdef0123456789abcdef"
SPOKEN = PCM16_16K.encode(
    (np.sin(np.arange(320) / 7) * np.linspace(0, 32_000, 320)).astype(np.int16)
)
"""20 ms of a tone at 16 kHz that rises from silence to full scale. Other rates use the same
bytes."""
CLEAR = "clear"
NO_MARK = ServerEvent(EventKind.MARKED)
ENDED = {
    name: ServerEvent(EventKind.MARKED, mark, text='"said-1"')
    for mark, names in {
        "mark": ("twilio", "telnyx", "exotel"),
        "checkpoint": ("plivo",),
        "notify": ("vonage",),
    }.items()
    for name in names
}
"""A mark of each dialect that has marks."""


class Case(NamedTuple):
    """A dialect, the key of the package that it is compared with, and the audio format of both."""

    dialect: Dialect
    named: dict[str, str]
    format: AudioFormat
    extra: dict[str, str] = {}  # noqa: RUF012

    @property
    def opened(self) -> dict[str, str]:
        """What a package finds in the messages that open a call; {} if they are not read."""
        return {
            "twilio": {"stream": f"MZ{CALL_ID}", "call": f"CA{CALL_ID}"},
            "telnyx": {"stream": CALL_ID, "call": f"v2:{CALL_ID}"},
            "plivo": {"stream": CALL_ID, "call": CALL_ID},
            "exotel": {"stream": f"MZ{CALL_ID}", "call": f"CA{CALL_ID}"},
        }.get(self.dialect.name, {})


CASES = {
    "twilio": Case(
        TWILIO, {"as": "twilio"}, G711_ULAW, {"from_number": "+15550100", "call": "{uuid}"}
    ),
    "pcm": Case(PCM, {"as": "vonage"}, PCM16_16K),
    "telnyx": Case(BY_NAME["telnyx"], {"as": "telnyx"}, G711_ULAW),
    "plivo": Case(BY_NAME["plivo"], {"as": "plivo"}, G711_ULAW),
    "exotel": Case(BY_NAME["exotel"], {"as": "exotel"}, PCM16_8K),
    "vonage": Case(BY_NAME["vonage"], {"as": "vonage"}, PCM16_16K, {"number": "+15550100"}),
    "genesys": Case(BY_NAME["genesys"], {"as": "genesys"}, G711_ULAW, {"number": "+15550100"}),
    "acs": Case(ACS, {}, PCM16_16K),
    "acs at 24 kHz": Case(ACS, {}, PCM16),
}


def shown(data: bytes) -> Any:
    """Return a message in the form that questions use."""
    return {"binary": _text(data)} if isinstance(data, BinaryMessage) else data.decode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def questions(
    case: Case, pcm: bytes = SPOKEN, *, only_audio: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the questions to a package: how it reads each message of a call, and how it writes
    audio and `clear`.
    """
    dialect, words = case.dialect, cast("type[CallCodec]", case.dialect.codec)(CALL_ID)
    samples = np.frombuffer(pcm, "<i2")
    of = case.format.name
    detection = TurnDetection(type=FULL_DUPLEX)
    duplex = SessionSettings(
        turn_detection=detection, input_format=of, output_format=of, extra=case.extra
    )
    opening = [
        step for step in dialect.setup_messages(duplex, "e") if isinstance(step, ClientMessage)
    ]
    keys = [] if dialect is PCM else [dialect.raw({"type": "dtmf", "digit": "5"}, "e")]
    end = [
        closing
        for closing in (words.acknowledge(ENDED.get(dialect.name, NO_MARK)), words.goodbye())
        if closing is not None
    ]
    audio = dialect.append(case.format.encode(samples), "e")
    wire = [shown(words.encode(each.kind, each.data)) for each in (*opening, audio, *keys, *end)]
    if not only_audio and case.opened:
        yield case.named | {"open": wire[:2]}
    received = [wire[len(opening)]] if only_audio else wire
    yield from (case.named | {"hear": message} for message in received)
    yield case.named | {"say": _text(pcm)}
    if not only_audio:
        yield case.named | {"say": CLEAR}


def check_answer(case: Case, question: Mapping[str, Any], answer: Any) -> None:
    """Assert that the package reads our message correctly, or that our code reads the package's
    message correctly.
    """
    if "say" in question:
        message = (
            BinaryMessage(base64.b64decode(answer["binary"]))
            if isinstance(answer, dict)
            else answer.encode()
        )
        event = event_of(message, case.dialect)
        if question["say"] == CLEAR:
            assert event.kind is EventKind.CLEARED
            return
        samples = np.frombuffer(base64.b64decode(question["say"]), "<i2")
        assert event.kind is EventKind.AUDIO_DELTA
        assert isinstance(event.payload, msgspec.Raw)
        received = audio_payload(event.payload)
        assert received is not None
        off = np.abs(case.format.decode(received).astype(int) - samples)
        # the step size of ITU-T G.711
        assert np.all(off <= (0 if case.format.is_pcm else np.abs(samples.astype(int)) // 16 + 16))
    elif "open" in question:
        known = {"provider": case.dialect.name, **case.opened}
        assert answer == known | {"body": case.extra and case.extra | {"call": CALL_ID}}
    else:
        assert answer == understood(case, question["hear"])


def understood(case: Case, message: Any) -> Any:
    """Return the correct reading of our message by a package."""
    if isinstance(message, dict):
        samples = case.format.decode(base64.b64decode(message["binary"]))
        return {"pcm": _text(samples.tobytes()), "rate": case.format.rate_hz}
    body = json.loads(message)
    if body.get("type") == "dtmf":
        return {"key": body["parameters"]["digit"]}
    if answer := {"open": "opened", "close": "closed"}.get(body.get("type")):
        return {"answer": answer, "clientseq": body["seq"]}
    if "event" in body:
        if body["event"] == "media":
            samples = case.format.decode(base64.b64decode(body["media"]["payload"]))
            return {"pcm": _text(samples.tobytes()), "rate": case.format.rate_hz}
        is_key = body["event"].endswith("dtmf")
        return {"key": body.get("dtmf", body)["digit"]} if is_key else None
    inner = body[body["kind"][0].lower() + body["kind"][1:]]
    if body["kind"] == "AudioData":
        number = {
            "kind": "phoneNumber",
            "phoneNumber": inner["participantRawID"].removeprefix("4:"),
            "isAnonymous": False,
        }
        audio = {
            "data": inner["data"],
            "timestamp": inner["timestamp"],
            "isSilent": inner["silent"],
        }
        return {"kind": "AudioData", **audio, "participant": number}
    inner.pop("length", None)  # the package does not read it
    return {"kind": body["kind"], **inner}
