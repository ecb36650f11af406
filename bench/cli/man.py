"""Writes the manual page rtbench(1), in man(7)'s macros, from the help of the commands: `python -m bench.cli.man`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from bench.cli.app import commands

NAME = "rtbench"


def manual() -> str:
    """The manual page, with a section for each command."""
    root = commands()
    summary, *_ = _paragraphs(root)
    lines = [
        f'.TH {NAME.upper()} 1 "" "Realtime Bench" "User Commands"',
        ".SH NAME",
        f"{NAME} \\- {_text(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {NAME}",
        "COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH OPTIONS",
        *_parameters(root, _context(root, NAME)),
        ".SH COMMANDS",
        *(line for name, command in _commands(root, NAME) for line in _section(name, command)),
        ".SH SEE ALSO",
        ".BR locust (1),",
        "which plays the runs; `rtbench options` prints the options that come on top of its own.",
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of all that can be called; of a group its members."""
    for own, command in group.commands.items():
        full = f"{name} {own}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield full, command


def _section(name: str, command: Any) -> Iterator[str]:
    context = _context(command, name)
    yield f".SS {_text(' '.join((name, *command.collect_usage_pieces(context))))}"
    first, *rest = _paragraphs(command)
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


def _paragraphs(command: Any) -> list[str]:
    """The help of a command, each paragraph on one line."""
    return [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(command.help).split("\n\n")]


def _text(words: str) -> str:
    """Text as roff prints it as it stands: no word of it is a request or an escape."""
    escaped = " ".join(words.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(manual())
