"""How Python processes of our own are started: with our packages, whatever lies where the user stands.

Python looks for modules in the working folder first, and then along PYTHONPATH. A user's own `bench.py` or `reports/`
there would be taken for ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

HOME = str(Path(__file__).resolve().parents[1])


def python_command(module: str, *words: str) -> list[str]:
    """`python -P -m module words…`: -P leaves the working folder off the path."""
    return [sys.executable, "-P", "-m", module, *words]


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which our packages come before all else of PYTHONPATH, where that is set."""
    path = environ.get("PYTHONPATH")
    return dict(environ) | ({"PYTHONPATH": os.pathsep.join((HOME, path))} if path else {})
