"""The processes that write a run: whether any may still write to it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from bench.base.installation import is_alive
from bench.record import presence
from bench.record.provenance import host_name
from bench.record.spool import parts

CLOSED = ("ended", "killed")


def writer_is_gone(folder: Path, document: dict[str, Any]) -> bool:
    """Return whether no process can write to a run any more."""
    if document.get("state") in CLOSED:
        return True
    writer = document.get("writer") or {}
    if writer.get("host") != socket.gethostname():
        return False
    is_held = presence.is_held(folder)
    if is_held is None:
        is_held = is_alive(writer.get("pid"))
    # a PID is of one host
    workers = (part for part in parts(folder) if part.host in ("", host_name()))
    return not is_held and not any(
        part.is_alive for part in workers if part.facts.pid != writer.get("pid")
    )


def is_under_way(folder: Path, document: dict[str, Any]) -> bool:
    """Return whether a process on this host may still write to a run; False if its writer is on
    another host.
    """
    is_local = (document.get("writer") or {}).get("host") == socket.gethostname()
    return is_local and not writer_is_gone(folder, document)
