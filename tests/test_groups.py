"""The groups of commands. The help, the completion and the documents list them in the order in
which they are used.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reports.analysis.targets.conditions import ALLOWABLE
from rtbench.cli.app import GROUPS, commands
from tests.command_line import call

DOCS = Path(__file__).parents[1] / "docs"
ORDER = [name for members in GROUPS.values() for name in members]


def test_the_help_lists_every_command_under_its_group_and_explains_how_to_start_a_run() -> None:
    printed = call("--help", env={"COLUMNS": "100", "TERM": "dumb"}).stdout
    places = [printed.index(f"─ {group} ─") for group in GROUPS]
    names = re.findall(r"^│ ([a-z][a-z-]*) {2,}[A-Z]", printed, re.MULTILINE)

    assert places == sorted(places)
    assert names == ORDER
    assert commands().list_commands(None) == ORDER
    assert "`rtbench run FILE` runs a script" in printed


def test_completion_names_the_group_of_each_command_in_the_order_of_use() -> None:
    root = commands()
    completed = root.shell_complete(root.make_context("rtbench", [], resilient_parsing=True), "")
    groups = {name: group for group, members in GROUPS.items() for name in members}
    found = [
        (one.value, str(one.help).partition(" · ")[0]) for one in completed if one.value in groups
    ]

    assert found == [*groups.items()]


def test_the_options_page_lists_every_command_under_its_group() -> None:
    page = (DOCS / "options.md").read_text(encoding="utf-8").partition("\n## Commands\n")[2]
    found: dict[str, list[str]] = {}
    for heading, rows in re.findall(
        r"^### (.+?)\n(.*?)(?=^### |\Z)", page, re.DOTALL | re.MULTILINE
    ):
        found[heading] = [
            name
            for cell in re.findall(r"^- (`rtbench .*?): ", rows, re.MULTILINE)
            for name in re.findall(r"`rtbench ([a-z-]+)", cell)
        ]

    assert found == {group: [*members] for group, members in GROUPS.items()}


@pytest.mark.parametrize(
    "words", [[name] for name in ORDER] + [[], ["baseline", "save"]], ids=" ".join
)
def test_switches_have_no_value_in_the_help(words: list[str]) -> None:
    printed = call(*words, "--help", env={"COLUMNS": "100", "TERM": "dumb"}).stdout

    assert "--help" in printed
    assert "<bool>" not in printed


def test_the_help_of_run_names_the_results_of_an_inconclusive_threshold_with_their_statuses() -> (
    None
):
    printed = " ".join(
        call("run", "--help", env={"COLUMNS": "200", "TERM": "dumb"})
        .stdout.replace("│", " ")
        .split()
    )
    text = printed.partition("--on-inconclusive")[2].partition("--write")[0]

    assert all(
        f"{word} ({status}" in text
        for word, status in (("fail", "exit status 3"), ("warn", "0"), ("pass", "0"))
    )


def test_the_help_of_check_names_the_conditions_that_may_differ() -> None:
    listed = " ".join(
        call("check", "--help", env={"COLUMNS": "200", "TERM": "dumb"})
        .stdout.replace("│", " ")
        .split()
    )

    assert [name for name in ALLOWABLE if name not in listed] == []


def test_there_are_at_most_19_commands() -> None:
    assert len(ORDER) <= 19


def test_runs_without_a_subcommand_lists_the_runs_of_a_folder(tmp_path: Path) -> None:
    for words in (["runs", tmp_path], ["runs", "list", tmp_path]):
        # the text may be wrapped
        assert "".join(call(*words).stdout.split()) == f"{tmp_path}hasnoruns"
