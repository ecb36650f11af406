"""A master's port, to which anybody may send anything."""

from __future__ import annotations
