"""The mark of tests of compiled code. Without a compiler, Python code has the same effect and is
tested instead.
"""

from __future__ import annotations

import pytest

from bench.transport.fast.reader import COMPILED

needs_compiler = pytest.mark.skipif(
    not COMPILED, reason="no compiled code here: Python code has the same effect, and is tested"
)
