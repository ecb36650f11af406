"""A fixture that isolates the commands that the tests of this folder run."""

from __future__ import annotations

from tests.system.attack.steering import nobody_else

__all__ = ["nobody_else"]
