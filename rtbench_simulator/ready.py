"""The ready file of `rtbench simulate`: the data that clients need to connect.

The simulator also prints the same document, in the line that starts with READY.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from bench.wire.addresses import authority
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.serving.service import ServerAddress, local_host, urls_of


def urls_at(authority: str) -> dict[str, str]:
    """Return the URLs of the services of a simulator with one worker and without TLS, by name."""
    return urls_of(SERVICES, ServerAddress(authority, False, 1))


Urls = Annotated[
    dict[str, str],
    msgspec.Meta(
        title="Urls",
        description=(
            "The complete URL of each service and agent. A client only adds its key.\n\n"
            "Several workers have no telephone. `agent_sips` is the telephone over TLS."
        ),
        extra_json_schema={
            "properties": {
                name: {"type": "string"} for name in urls_of(SERVICES, ServerAddress("", True, 1))
            },
            "required": list(urls_of(SERVICES, ServerAddress("", False, 2))),
        },
    ),
]


class IdentityEntry(msgspec.Struct, frozen=True):
    """The endpoint that issues tokens, and the header that a client sends to it."""

    endpoint: str | None
    header: str


class ReadyDocument(msgspec.Struct, frozen=True):
    """The content of a ready file. `ca`: the file with the certificate authority that clients must
    trust.

    `profile`: its name. `pids`: the ids of the processes that serve clients.
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
    profile: str


def ready_document(
    host: str,
    port: int,
    ca: Path | None,
    identity: IdentityEntry | None,
    pids: list[int],
    profile: str,
) -> ReadyDocument:
    """Return the ready document of this process. `host`, `port`: the address at which the
    process listens.
    """
    address = ServerAddress(authority(local_host(host), port), ca is not None, len(pids))
    authority_file = str(ca) if ca else None
    return ReadyDocument(
        1,
        True,
        os.getpid(),
        port,
        ca is not None,
        authority_file,
        urls_of(SERVICES, address),
        identity,
        pids,
        profile,
    )
