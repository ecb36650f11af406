"""A hook of mkdocs. It converts the pages of `docs/` to pages of the site, and adds the JSON
Schemas.

On the site, links to files outside `docs/` lead to the repository, whose address is in
pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from mkdocs.structure.files import File

from tools.schemas import schema_text, schemas

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")

FENCE = re.compile(r"^(```\w+) \w+$", re.MULTILINE)
"""The first line of a code block that has an additional word for our tests (`sh deployment`).

mkdocs does not allow such a word.
"""


def addresses() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(project["urls"])


def on_config(config: Any) -> Any:
    """Set the address of the site, but not the address of the repository.

    With the address of the repository, the theme would load statistics from the repository's host.
    """
    config["site_url"] = addresses()["Documentation"]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the JSON Schema of each machine-readable file to the site, as
    `schemas/<name>.schema.json`.
    """
    for name, schema in schemas().items():
        files.append(
            File.generated(config, f"schemas/{name}.schema.json", content=schema_text(schema))
        )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the Markdown of a page for the site."""
    return linked(
        FENCE.sub(r"\1", markdown),
        page.file.src_uri,
        {file.src_uri for file in files if not file.inclusion.is_excluded()},
    )


def linked(markdown: str, page: str, site: Collection[str]) -> str:
    """Return the Markdown of a page with links that work on the site.

    `site` contains the names of all files of the site.
    """

    def lead(link: re.Match[str]) -> str:
        path = normpath(PurePosixPath("docs", page).parent / link[1])
        if path.removeprefix("docs/") in site or not (ROOT / path).exists():
            return link[0]  # mkdocs itself warns of links to missing files
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{addresses()['Repository']}/{kind}/main/{path}{link[2] or ''}"

    return LINK.sub(lead, markdown)
