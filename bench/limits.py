"""Holds how long each stage of a session may take."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """How long each stage may take before the session or turn ends as `timeout:<stage>`; seconds."""

    tcp: float = 5.0
    tls: float = 5.0
    upgrade: float = 10.0
    session: float = 10.0
    """session.created, and session.updated after it"""
    speech: float = 10.0
    """from the end of the caller's speech until the service's VAD has noticed it"""
    first_delta: float = 30.0
    """from response.create; where the service starts the response itself, from speech_stopped"""
    next_delta: float = 10.0
    done: float = 120.0
    """from response.created"""


LIMIT_NAMES = tuple(field.name for field in fields(Limits))
