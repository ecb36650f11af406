"""Writes the manual page rtbench(1), in man(7)'s macros, from the help of the commands: `python -m bench.cli.man`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from bench.cli.app import GROUPS, commands, paragraphs

NAME = "rtbench"


def manual() -> str:
    """The manual page, with a section for each group of commands."""
    root = commands()
    summary, *more = paragraphs(root.help)
    lines = [
        f'.TH {NAME.upper()} 1 "" "Realtime Bench" "User Commands"',
        ".SH NAME",
        f"{NAME} \\- {_text(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {NAME}",
        "COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        *map(_text, more),
        ".SH OPTIONS",
        *_parameters(root, _context(root, NAME)),
        *_groups(root),
        ".SH SEE ALSO",
        ".BR locust (1),",
        "which plays the runs; `rtbench options` prints the options that come on top of its own.",
    ]
    return "\n".join(lines) + "\n"


def _groups(root: Any) -> Iterator[str]:
    """The commands under the headings of their groups."""
    for heading, members in GROUPS.items():
        yield f".SH {_text(heading.upper())}"
        for own in members:
            for name, command in _commands(own, root.commands[own], NAME):
                yield from _section(name, command)


def _commands(own: str, command: Any, parent: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of what can be called: the command, or of a group its members."""
    full = f"{parent} {own}"
    if not hasattr(command, "commands"):
        yield full, command
        return
    for name, member in command.commands.items():
        yield from _commands(name, member, full)


def _section(name: str, command: Any) -> Iterator[str]:
    context = _context(command, name)
    yield f".SS {_text(' '.join((name, *command.collect_usage_pieces(context))))}"
    first, *rest = paragraphs(command.help)
    yield _text(first)
    for paragraph in rest:
        yield from (".PP", _text(paragraph))
    yield from _parameters(command, context)


def _parameters(command: Any, context: Any) -> Iterator[str]:
    """What may be given to a command, with what it means."""
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            names, meaning = record
            yield from (".TP", f".B {_text(names)}", _text(meaning))


def _context(command: Any, name: str) -> Any:
    return command.context_class(command, info_name=name)


def _text(words: str) -> str:
    """Text as roff prints it as it stands: no word of it is a request or an escape."""
    escaped = " ".join(words.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(manual())
