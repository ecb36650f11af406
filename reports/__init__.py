"""Understanding a run, from its folder on: no network, no event loop."""

from reports.runs import Run, load

__all__ = ["Run", "load"]
