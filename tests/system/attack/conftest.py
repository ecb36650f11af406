"""What no command may do that the tests of this folder call."""

from __future__ import annotations

from tests.system.attack.steering import nobody_else

__all__ = ["nobody_else"]
