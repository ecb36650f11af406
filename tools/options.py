"""The list of options in docs/options.md. `python -m tools.options` generates it from
`rtbench run --help-all`.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.load.planning.run_options import add_options
from rtbench.cli.run import OptionCollector
from tools.made_page import listed, made_anew

PAGE = Path(__file__).parents[1] / "docs" / "options.md"


def written(page: str) -> str:
    """Return the page with a new list of options."""
    options = OptionCollector()
    add_options(options)
    entries = ((f"`{name}`", _marked(purpose)) for name, _, purpose in options)
    return made_anew(page, {"options": listed(entries)})


def _marked(purpose: str) -> str:
    """Return the purpose of an option. Words that are possible values of the option are
    formatted as code.
    """
    said, of, words = purpose.partition("; one of ")
    return said + of + re.sub(r"[\w-]+", r"`\g<0>`", words)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
