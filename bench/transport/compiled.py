"""Chooses between what was compiled from `_compiled.pyx` and, where there was no compiler, `_interpreted.py`."""

from __future__ import annotations

try:
    from bench.transport._compiled import (
        DeltaTaker,
        ReadState,
        leading_texts,
        make_alarm,
        readable,
        set_alarm,
        thread_use,
    )

    COMPILED = True
except ImportError:
    from bench.transport._interpreted import (  # type: ignore[assignment]
        DeltaTaker,
        ReadState,
        leading_texts,
        make_alarm,
        readable,
        set_alarm,
        thread_use,
    )

    COMPILED = False

__all__ = [
    "COMPILED",
    "DeltaTaker",
    "ReadState",
    "leading_texts",
    "make_alarm",
    "readable",
    "set_alarm",
    "thread_use",
]
