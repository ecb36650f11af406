"""Understanding a run, from its folder on: no network, no event loop.

What `rtbench` offers of it stands here, too, where it was offered before: `docs/api.md`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.api.run import Run, load
    from reports.api.verdicts import check, compare, trend

__all__ = ["Run", "check", "compare", "load", "trend"]
PLACES = {"Run": "run", "load": "run"}
"""The modules of `reports.api` that they come from; the others come from `verdicts`."""


def __getattr__(name: str) -> Any:
    """Imports what is public when it is asked for: who takes a single module of ours does not wait for pandas."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"reports.api.{PLACES.get(name, 'verdicts')}"), name)
