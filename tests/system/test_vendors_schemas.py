"""Files for other programs are valid for the JSON Schemas of their vendors (bundled by
check-jsonschema).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FILES = {
    "github-workflows": (
        ".github/workflows/*.yml",
        "docs/ci/github-*.yml",
        "scenarios/starter/github.yml",
    ),
    "github-actions": ("action.yml",),
    "azure-pipelines": ("docs/ci/azure-*.yml", "scenarios/starter/azure.yml"),
    "compose-spec": ("docs/deploy/compose.yaml", "docs/observability/compose.yaml"),
}
SPELT = {True: "true", False: "false"}


def spelt(value: Any) -> Any:
    """Convert booleans and numbers of the value to text, because every scalar is a text in
    Azure's schema.
    """
    if isinstance(value, dict):
        return {key: spelt(inner) for key, inner in value.items() if not key.startswith("${{")}
    if isinstance(value, list):
        return [
            spelt(inner)
            for item in value
            for inner in (chosen(item) if isinstance(item, dict) else [item])
        ]
    return (
        SPELT[value] if isinstance(value, bool) else str(value) if isinstance(value, int) else value
    )


def chosen(item: dict[str, Any]) -> list[Any]:
    """Return the steps that a condition of a template contains, or the one step."""
    (key, inner), *_ = item.items()
    return list(inner) if key.startswith("${{") else [item]


def validated(schema: str, paths: list[Path]) -> subprocess.CompletedProcess[str]:
    command = [
        "check_jsonschema",
        "--regex-variant",
        "python",
        "--builtin-schema",
        f"vendor.{schema}",
        *map(str, paths),
    ]
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("schema", FILES)
def test_each_file_matches_the_schema_of_its_vendor(schema: str, tmp_path: Path) -> None:
    paths = [path for pattern in FILES[schema] for path in sorted(ROOT.glob(pattern))]
    assert len(paths) >= len(FILES[schema])
    if schema == "azure-pipelines":
        for number, path in enumerate(paths):
            paths[number] = tmp_path / f"{path.stem}.json"
            paths[number].write_text(
                json.dumps(spelt(YAML(typ="safe").load(path.read_text(encoding="utf-8"))))
            )
    found = validated(schema, paths)

    assert found.returncode == 0, found.stdout + found.stderr
