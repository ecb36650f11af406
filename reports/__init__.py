"""Understanding a run, from its folder on: no network, no event loop.

What `rtbench` offers of it stands here, too, where it was offered before: `docs/api.md`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.api import Run, load
    from reports.comparisons.comparison import compare
    from reports.gate.check import check
    from reports.trends.trend import trend

__all__ = ["Run", "check", "compare", "load", "trend"]
PLACES = {"compare": "comparisons.comparison", "check": "gate.check", "trend": "trends.trend"}
"""The modules that they come from; the others come from `reports.api`."""


def __getattr__(name: str) -> Any:
    """Imports what is public when it is asked for: who takes a single module of ours does not wait for pandas."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"reports.{PLACES.get(name, 'api')}"), name)
