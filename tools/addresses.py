"""Write the project's own addresses into every file that contains one.

Their source is `[project.urls]` in pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
OWN = re.compile(
    r"https://github\.com/[\w.-]+/rtbench(?![\w.-]*[\w])"
    r"|https://[\w-]+\.github\.io/rtbench/"
    r"|(?<=uses: )[\w.-]+/rtbench(?=@)"
    r"|(?<=name: )[\w.-]+/rtbench(?=, endpoint)"
)
"""An address of this project: the repository, the site, or a name that workflows use."""
FOLDERS = (".github", "bench", "docs", "reports", "rtbench", "scenarios")
SUFFIXES = {"", ".1", ".ipynb", ".j2", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}


@cache
def urls() -> dict[str, str]:
    return dict(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["urls"])


def written(text: str) -> str:
    """Return the text of a file, with each address replaced by the address in `pyproject.toml`."""
    repository, site = (urls()[name] for name in ("Repository", "Documentation"))

    def own(found: re.Match[str]) -> str:
        if "github.io" in found[0]:
            return site
        return (
            repository
            if found[0].startswith("https:")
            else repository.removeprefix("https://github.com/")
        )

    return OWN.sub(own, text)


def files() -> Iterator[Path]:
    """Yield every file that may contain an address. Leave out pyproject.toml, the source of the
    addresses.
    """
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    for path in (*ROOT.iterdir(), *inside):
        if (
            path.suffix in SUFFIXES
            and not path.name.startswith(".")
            and path != PROJECT
            and path.is_file()
        ):
            yield path


def main() -> None:
    for path in files():
        old = path.read_text(encoding="utf-8")
        if (new := written(old)) != old:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
