"""How many examples a property takes that needs more of them than others."""

from __future__ import annotations

from hypothesis import settings

thorough = settings(max_examples=max(100, settings.default.max_examples))
"""For the wire, frames and turns by a VAD: what was wrong there was found by rare examples."""
