"""A fixture that isolates the commands that the tests of this folder run."""

from __future__ import annotations

from tests.system.attack.steering import isolated_commands

__all__ = ["isolated_commands"]
