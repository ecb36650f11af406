"""Folders that tests cannot read. Tests may run as root, to which permissions do not apply."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let access to a folder and to its files fail, as mode 000 does for users other than root."""
    held = folder.resolve()

    def refusing(call: Callable[..., Any], *, itself: bool) -> Callable[..., Any]:
        def called(path: Any = ".", *given: Any, **named: Any) -> Any:
            if not isinstance(path, int):
                meant = Path(os.path.abspath(os.fsdecode(path)))
                if held in meant.parents or (itself and meant == held):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *given, **named)

        return called

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), itself=False))
    for name in ("open", "listdir", "scandir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), itself=True))
