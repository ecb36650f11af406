"""The documents as a site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_site_has_each_page_and_loads_no_external_resources(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    named = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    front = (tmp_path / "index.html").read_text(encoding="utf-8")

    assert (built.returncode, built.stdout) == (0, ""), built.stderr
    assert {page for page in named if f'href="{page}/"' not in front} == set()
    assert not re.findall(
        r'<(?:script|link(?! rel="(?:canonical|next|prev)")|img)[^>]*(?:src|href)="https?:', front
    )
    assert "check/#baselines" in (tmp_path / "search" / "search_index.json").read_text(
        encoding="utf-8"
    )
