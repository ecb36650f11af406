"""The levels of the quantiles of a run: the only list of them.

The keys of summary.json, its schema, the columns of tables, the plots, and the frames of the Python
API are made from this list. To add a level, add it here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

LEVELS = (0.5, 0.9, 0.95, 0.99)
MAIN_LEVELS = (0.5, *(p for p in LEVELS if p >= 0.95))
"""The levels of the first table of a report: the median and the tail."""
TYPICAL_LEVELS = (0.5, 0.95)
"""The levels that are shown if there is room for two. Their keys are fields of groups and of
turns with tools."""
LEVEL_NAMES = {p: f"p{p * 100:g}" for p in LEVELS}
"""The name of each level for people, such as `p95` or `p99.9`."""
LEVEL_KEYS = {p: name.replace(".", "") for p, name in LEVEL_NAMES.items()}
"""The key of each level in a JSON document, such as `p95`, or `p999` for 0.999."""


def level_fields(kind: Any) -> dict[str, Any]:
    """Return the annotations of a struct that has a field of this type for each level."""
    return dict.fromkeys(LEVEL_KEYS.values(), kind)


def by_level(values: Iterable[Any]) -> dict[str, Any]:
    """Return the fields of such a struct. `values` has the value of each level."""
    return dict(zip(LEVEL_KEYS.values(), values, strict=True))
