"""The dialect of telephone calls (SIP and RTP), which have audio and keys, but no events.

The transport (`bench.transport.sip`) is the caller's telephone: it has the signalling and the packets. It exchanges
audio in binary messages with the session, one for each packet. A pressed key is a text message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.services.agents.dialects import AUDIO, FRAME_MS, AgentDialect, PcmAgent
from bench.services.telephone.remedies import REMEDIES
from bench.wire.audio import G711_ULAW, by_name
from bench.wire.dialect import AwaitedEvent, ClientMessage, MessageKind
from bench.wire.service import SIP, Service
from bench.wire.settings import SessionSettings

KEY = "dtmf"


class Telephone(PcmAgent):
    """An agent that answers a telephone. The transport converts its audio to PCMA, if the call agreed on it."""

    name = "sip"
    title = "an agent on a telephone"
    has_track, remedies = True, REMEDIES
    one_format = True
    settings = AgentDialect.settings - {"extra"}
    frame_ms = FRAME_MS
    input_formats = output_formats = by_name(G711_ULAW)
    message_kinds = MappingProxyType({AUDIO: MessageKind.APPEND, KEY: MessageKind.RAW})

    def setup_messages(self, settings: SessionSettings, event_id: str) -> Sequence[ClientMessage | AwaitedEvent]:
        return ()

    def unsupported_event(self, event: Mapping[str, Any], settings: SessionSettings) -> str:
        return AgentDialect.unsupported_event(self, event, settings)

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return ClientMessage(MessageKind.RAW, KEY, msgspec.json.encode({"type": KEY, "digit": event["digit"]}))


TELEPHONE = Telephone()
SERVICE = Service(TELEPHONE.name, TELEPHONE.title, TELEPHONE, "sip:agent@localhost", links=(SIP,))
