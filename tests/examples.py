"""How many examples a property takes that needs more of them than others, or fewer."""

from __future__ import annotations

from hypothesis import settings

thorough = settings(max_examples=max(100, settings.default.max_examples))
"""For the wire, frames and turns by a VAD: what was wrong there was found by rare examples."""
few = settings(max_examples=settings.default.max_examples // 4, deadline=None)
"""For what makes several folders of runs in each example."""
