"""Understanding a run, from its folder on: no network, no event loop.

Public is what stands here, with the columns of its frames: `docs/api.md`.
"""

from reports.api import Run, load

__all__ = ["Run", "load"]
