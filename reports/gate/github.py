"""What GitHub Actions shows of a check: annotations by workflow commands, and the comment in the step's summary.

A command's message is escaped as `%25`, `%0D`, `%0A`; a property such as its title also as `%3A` and `%2C`
(docs.github.com, "Workflow commands"; actions/toolkit, `command.ts`).
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.plain import printable
from reports.gate.items import Checked
from reports.gate.sentences import headline, said
from reports.numbers import NBSP

MOST = 10
"""Annotations of one kind that a step shows."""


def commands(checked: Checked) -> Iterable[str]:
    """Lines for the step's output. What passes by `--on-inconclusive=pass` is not annotated."""
    if checked.status == 4:
        yield command("error", "rtbench check", headline(checked))
        return
    yield from (command("warning", "rtbench check", warning) for warning in checked.warnings)
    for item in checked.of("failed")[:MOST]:
        yield command("error", f"{item.figure} {item.word}", said(item))
    if checked.on_inconclusive != "pass":
        kind = "error" if checked.status == 3 else "warning"
        for item in checked.of("unsure")[:MOST]:
            yield command(kind, f"{item.figure} {item.word}", said(item))


def refusal(error: str) -> str:
    """Of what cannot be asked so."""
    return command("error", "rtbench check", error)


def command(kind: str, title: str, message: str) -> str:
    """::error title=…::…"""
    return f"::{kind} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return printable(text.replace(NBSP, " ").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
