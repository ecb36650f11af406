"""The files of docs/deploy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


DEPLOY = ROOT / "docs" / "deploy"


IMAGE = re.compile(r"[a-z0-9-]+:\d+(\.\d+)*(-slim)?")
"""The name of an image with a version, and without a registry."""


def documents(path: Path) -> list[Any]:
    return list(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))
