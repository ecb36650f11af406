"""`rtbench doctor`: what stands between this machine and a measured turn, and what to do about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.service_options import with_service_options
from bench.errors import UsageError
from bench.plain import json_text
from bench.target.options import ServiceOptions

if TYPE_CHECKING:
    from bench.doctor.finding import Finding
    from bench.target.target import Target

FAILED_STATUS = 1
JSON_VERSION = 1
WIDEST = 100
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}


@with_service_options()
def doctor(
    service_options: ServiceOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
    turn: Annotated[
        bool, typer.Option("--turn/--no-turn", help="Say one sentence to the service, which costs about a cent.")
    ] = True,
    offline: Annotated[
        bool, typer.Option("--offline", help="Look at this machine and at what targets.yaml says, and call nobody.")
    ] = False,
) -> None:
    """Look at this machine, the way to a service and the service itself; say what is wrong and what to do.

    Where no service is named, it looks at this machine; with --offline, also at every target of targets.yaml.

    Exit status 0 when nothing failed, 1 when something did.
    """
    from bench.transport.green import patch

    patch()
    from bench.doctor.examine import examine, examine_offline
    from bench.doctor.finding import Finding, any_failed
    from bench.doctor.machine import look_at_machine
    from bench.target.prices import load_price_table
    from bench.target.targets import ENDPOINT, resolve_every_target, resolve_targets

    targets, unnamed = [], ""
    try:
        targets = (resolve_every_target if offline else resolve_targets)(os.environ, service_options)
    except UsageError as error:
        if service_options != ServiceOptions() or os.environ.get(ENDPOINT):
            raise
        unnamed = str(error)
    prices = load_price_table(None).models
    told = (lambda _, findings: list(findings)) if as_json else _printed
    machine = told("this machine", look_at_machine())
    if offline:
        found = [told(target.label, examine_offline(target)) for target in targets]
    else:
        costs = " (one turn of text costs about a cent: --no-turn leaves it out)"
        titles = [f"{target.label}{costs if turn and not target.loopback else ''}" for target in targets]
        looks = [examine(target, prices, with_turn=turn) for target in targets]
        found = [told(title, look) for title, look in zip(titles, looks, strict=True)]
    if unnamed and not as_json:
        _printed("no service", [Finding("service", "skipped", f"none is named, so none was looked at: {unnamed}")])
    failed = any(any_failed(findings) for findings in (machine, *found))
    if as_json:
        print(json_text(_document(machine, targets, found, failed)))
    raise typer.Exit(FAILED_STATUS if failed else 0)


def _printed(title: str, findings: Iterable[Finding]) -> list[Finding]:
    """The findings, each printed as it comes."""
    from bench.doctor.finding import STATE_WIDTH, lines

    typer.echo(f"\n{title}\n")
    printed = []
    for finding in findings:
        first, *rest = lines(finding, min(WIDEST, shutil.get_terminal_size().columns))
        state = typer.style(first[:STATE_WIDTH], fg=COLOURS[finding.state])
        typer.echo("\n".join([state + first[STATE_WIDTH:], *rest]))
        printed.append(finding)
    return printed


def _document(
    machine: list[Finding], targets: list[Target], found: list[list[Finding]], failed: bool
) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "state": "failed" if failed else "ok",
        "machine": [finding.as_json() for finding in machine],
        "targets": [
            {
                "label": target.label,
                "url": target.public_url,
                "dialect": target.dialect.name,
                "service": target.service,
                "findings": [finding.as_json() for finding in findings],
            }
            for target, findings in zip(targets, found, strict=True)
        ],
    }
