"""`rtbench options`: the options that the tool adds to Locust's, which `locust --help` cannot show.

Locust prints its help before it loads the Locust file, and the file is what brings our options (Locust's issue 2917).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

INTRODUCTION = (
    "These are the options of a run beside Locust's own, which `locust --help` lists. Give each on the "
    "command line, in locust.conf by its name without the dashes, or in the environment as the variable behind it."
)
INDENT = 28


def options() -> None:
    """Print the options of a run that this tool adds to Locust's own, with their variables and what they are for."""
    from bench.cli.report import wants_colour, width
    from bench.load.planning.options import add_options
    from reports.blocks import Paragraph
    from reports.text.lines import Named, pour

    listed = OptionList()
    add_options(listed)
    rows = (Named(name, [f"{purpose}. {variable}"], indent=INDENT) for name, variable, purpose in listed)
    sys.stdout.write(pour([[Paragraph(INTRODUCTION)], rows], width(), wants_colour()))


class OptionList:
    """Takes options as Locust's parser does, and yields of each (name and value, variable, what it is for)."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        return iter(self._rows)

    def add_argument(self, name: str, **settings: Any) -> None:
        """Take an option with the settings of argparse, and Locust's `env_var`."""
        value = settings.get("metavar", "" if "action" in settings else name[2:].upper())
        purpose = settings["help"] + (f"; one of {', '.join(settings['choices'])}" if "choices" in settings else "")
        shown = f"{name} {value}".rstrip()
        self._rows.append((shown.replace("%%", "%"), settings["env_var"], purpose.replace("%%", "%")))
