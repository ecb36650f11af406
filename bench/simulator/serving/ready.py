"""The ready file of `rtbench simulate`: the data that clients need to connect.

The simulator also prints the same document, in the line that starts with READY.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, NotRequired, TypedDict

import msgspec

from bench.simulator.server_events import AGENT_PATH
from bench.transport.interface import authority

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # the loopback address of a server that listens on all addresses


class Urls(TypedDict):
    """The complete URL of each service and agent. A client only adds its key.

    Several workers have no telephone. `agent_sips` is the telephone over TLS.
    """

    ga: str
    preview: str
    openai: str
    voice_live: str
    gpt_live: str
    transcription: str
    agent_pcm: str
    agent_twilio: str
    agent_acs: str
    agent_sip: NotRequired[str]
    agent_sips: NotRequired[str]


class IdentityEntry(msgspec.Struct, frozen=True):
    """The endpoint that issues tokens, and the header that a client sends to it."""

    endpoint: str | None
    header: str


class ReadyDocument(msgspec.Struct, frozen=True):
    """The content of a ready file. `ca`: the file with the certificate authority that clients must trust.

    `pids`: the ids of the processes that serve clients.
    """

    schema: Literal[1]
    simulated: Annotated[bool, msgspec.Meta(extra_json_schema={"const": True})]
    pid: int
    port: int
    tls: bool
    ca: str | None
    urls: Urls
    identity: IdentityEntry | None
    pids: list[int]


def ready_document(
    host: str, port: int, ca: Path | None, identity: IdentityEntry | None, pids: list[int]
) -> ReadyDocument:
    """Return the ready document of this process. `host`, `port`: the address at which the process listens."""
    host = WILDCARDS.get(host, host)
    scheme, address = "wss" if ca else "ws", authority(host, port)
    agents = f"{scheme}://{address}{AGENT_PATH}"
    urls: Urls = {
        "ga": f"{scheme}://{address}/openai/v1/realtime?model=gpt-realtime",
        "preview": f"{scheme}://{address}/openai/realtime"
        "?api-version=2025-04-01-preview&deployment=gpt-4o-realtime-preview",
        "openai": f"{scheme}://{address}/v1/realtime?model=gpt-realtime",
        "voice_live": f"{scheme}://{address}/voice-live/realtime?api-version=2026-07-15&model=gpt-realtime",
        "gpt_live": f"{scheme}://{address}/v1/live/sessions",
        "transcription": f"{scheme}://{address}/v1/realtime?intent=transcription",
        "agent_pcm": f"{agents}pcm",
        "agent_twilio": f"{agents}twilio",
        "agent_acs": f"{agents}acs",
    }
    if len(pids) == 1:
        urls["agent_sip"] = f"sip:agent@{address}"
        if ca:
            urls["agent_sips"] = f"sips:agent@{address}"
    return ReadyDocument(1, True, os.getpid(), port, ca is not None, str(ca) if ca else None, urls, identity, pids)
