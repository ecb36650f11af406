"""Environments for packages of others: virtual environments of Python, and folders with packages
of Node.
"""

from __future__ import annotations

import shutil
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path


def in_python(home: Path, packages: Sequence[str]) -> list[str]:
    """Return the Python of a new environment with these packages. Raise CalledProcessError if
    pip fails.
    """
    venv.create(home, with_pip=True, clear=True)
    python = home / "bin" / "python"
    _installed(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
    return [str(python)]


def in_node(home: Path, packages: Sequence[str]) -> list[str]:
    """Return Node, for programs in a new folder with these packages.

    Raise CalledProcessError if npm fails, and FileNotFoundError if it is not installed.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _installed("npm", "install", "--silent", "--prefix", str(home), *packages)
    return ["node"]


def _installed(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
