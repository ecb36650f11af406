"""A guard for the tests of this folder that may hang."""

from __future__ import annotations

from tests.played_session import hang_guard

__all__ = ["hang_guard"]
