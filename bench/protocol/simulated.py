"""How `rtbench simulate` says that it is no service: in every answer's headers, and in every session that it describes.

A gateway on the way may answer the upgrade by itself; what it hands on of a session is the simulator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIMULATOR_HEADER = "x-rtbench-simulator"
SIMULATOR_MARK = "rtbench_simulator"
"""A key of the session that no service has, and clients pass over; its value is true."""


def is_simulated(headers: Mapping[str, str], session: Mapping[str, Any]) -> bool:
    """Whether the answer to an upgrade, or a session as the service describes it, is the simulator's."""
    return SIMULATOR_HEADER in headers or SIMULATOR_MARK in session
