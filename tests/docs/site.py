"""A hook of mkdocs: makes of the pages of `docs/` those of the site, and adds the JSON Schemas.

Links that leave `docs/` lead to the repository, whose address is in pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from mkdocs.structure.files import File

from tests.docs.schemas import schema_text, schemas

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")

FENCE = re.compile(r"^(```\w+) \w+$", re.MULTILINE)
"""A block of code with a word for our tests (`sh deployment`), which mkdocs would not take for code."""


def addresses() -> dict[str, str]:
    """The addresses of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(project["urls"])


def on_config(config: Any) -> Any:
    """Give the site its address. Without that of the repository, whose figures the theme would load from elsewhere."""
    config["site_url"] = addresses()["Documentation"]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the JSON Schema of each file for programs, as `schemas/<name>.schema.json`."""
    for name, schema in schemas().items():
        files.append(File.generated(config, f"schemas/{name}.schema.json", content=schema_text(schema)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return a page as the site has it."""
    return linked(
        FENCE.sub(r"\1", markdown),
        page.file.src_uri,
        {file.src_uri for file in files if not file.inclusion.is_excluded()},
    )


def linked(markdown: str, page: str, site: Collection[str]) -> str:
    """Return the page of this name in `docs` with its links; `site` has the names of all of the site's files."""

    def lead(link: re.Match[str]) -> str:
        path = normpath(PurePosixPath("docs", page).parent / link[1])
        if path.removeprefix("docs/") in site or not (ROOT / path).exists():
            return link[0]  # of what does not exist mkdocs warns
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{addresses()['Repository']}/{kind}/main/{path}{link[2] or ''}"

    return LINK.sub(lead, markdown)
