"""The programs of the clients, which tests and `make clients` run."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ADDRESS = "127.0.0.1:8765"
"""The address of the simulator in the text of each program. What runs a program replaces the
port."""


def _file(folder: str, name: str) -> Path | None:
    slug = re.sub(r"\W+", "_", name).strip("_").lower()
    return next((HERE / folder).glob(f"{slug}.*"), None)


def source(name: str) -> str:
    """Return the text of a client's shortest program, which prints a reply. Its lines are those
    of `--clients`.
    """
    path = _file("programs", name)
    assert path is not None, f"{name} has no program"
    return path.read_text(encoding="utf-8")


def caller(name: str) -> str | None:
    """Return the text of the program that runs a client's steps; None if `by_steps.py` runs
    them.
    """
    path = _file("callers", name)
    return None if path is None else path.read_text(encoding="utf-8")
