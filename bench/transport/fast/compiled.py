"""Chooses between what was compiled from `_compiled.pyx` and, where there was no compiler, `_interpreted.py`."""

from __future__ import annotations

try:
    from bench.transport.fast._compiled import SocketReader, TemplateMatcher, leading_texts

    COMPILED = True
except ImportError:
    from bench.transport.fast._interpreted import (  # type: ignore[assignment]
        SocketReader,
        TemplateMatcher,
        leading_texts,
    )

    COMPILED = False

__all__ = ["COMPILED", "SocketReader", "TemplateMatcher", "leading_texts"]
