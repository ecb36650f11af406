"""The documents name all parts of the code that users need, and every link has a target."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.outcomes import OUTCOMES
from bench.plan.script import load_script
from bench.plan.script_keys import TIMEOUTS
from bench.record.validity import ValidityData, evaluate_checks
from bench.target import targets, unread_variables
from bench.target.address import split_url
from bench.target.target_settings import ServiceOptions, SettingError
from reports.statistics import quantiles, unseen, verdicts
from reports.statistics.differences import LEVEL
from rtbench.cli import docs
from rtbench.cli.app import MODULES, command
from tools import addresses, columns, site

ROOT = Path(__file__).parents[2]
PRODUCT = ("bench", "reports", "rtbench", "rtbench_simulator")
NAMING = (*PRODUCT, "scenarios", "docs")
COMMAND = r"`rtbench docs ([a-z][\w-]*)(?:#([\w-]+))?`"
HELPER = r"""\bsee\(['"]([\w-]+)['"](?:, ['"]([\w-]+)['"])?\)"""
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_in(page: str) -> set[str]:
    """Return every text in backticks on a page, and also each word of these texts."""
    spans = re.findall(r"`([^`\n]+)`", text(page))
    return {*spans, *(word for span in spans for word in re.split(r"[\s,:<>]+", span))}


def missing(names: Iterable[str], page: str) -> list[str]:
    return sorted(set(names) - code_in(page))


def test_docs_metrics_defines_every_metric() -> None:
    assert not missing(CATALOGUE, "docs/metrics.md")


def test_docs_metrics_defines_every_outcome() -> None:
    families = {name.split(":")[0] for name in OUTCOMES}

    assert not missing(families, "docs/metrics.md")


def test_docs_metrics_defines_every_timeout_and_every_validity_check() -> None:
    checks = evaluate_checks(ValidityData((), None, None, None, None, False)).checks

    assert not missing(TIMEOUTS.fields, "docs/metrics.md")
    assert not missing({check.name for check in checks}, "docs/metrics.md")


def test_the_lists_of_columns_and_instants_are_up_to_date() -> None:
    pages = [page.read_text(encoding="utf-8") for page in columns.PAGES]

    assert [columns.written(page) for page in pages] == pages, "run `make schema`"
    assert all("<!-- made: " in page for page in pages)


def test_files_that_architecture_md_names_exist() -> None:
    """A path in backticks may leave out its first folders: `wording/groups.py` is in `reports`.

    Files of users are excluded.
    """
    folders = (
        ROOT / name
        for name in (
            "bench",
            "reports",
            "rtbench",
            "scenarios",
            "tests",
            "tools",
            "docs",
        )
    )
    files = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*.*"))]
    named = set(
        re.findall(r"`([\w./-]+\.(?:py|pyx|md|yml|yaml|j2|toml))`", text("ARCHITECTURE.md"))
    ) - {"bench.py"}

    parts = set(
        re.findall(
            r"`((?:bench|reports|rtbench|scenarios|tests|tools|docs)/[\w/-]+)`",
            text("ARCHITECTURE.md"),
        )
    )

    assert not {
        name for name in named if not any(path.as_posix().endswith(f"/{name}") for path in files)
    }
    assert not {name for name in parts if not (ROOT / name).exists()}
    assert named
    assert parts


def test_the_targets_in_the_readme_are_valid(tmp_path: Path) -> None:
    found = [
        block
        for block in re.findall(r"```yaml\n(.*?)```", text("README.md"), re.DOTALL)
        if "targets:" in block
    ]
    file = tmp_path / "targets.yaml"
    file.write_text(found[0].replace("RESOURCE-", "mine-"), encoding="utf-8")
    resolved = targets.resolve_targets(
        {}, ServiceOptions(targets=("eastus2", "sweden"), target_file=file)
    )

    assert [target.label for target in resolved] == ["eastus2", "sweden"]


def test_the_readme_names_every_azure_variable() -> None:
    names = (
        unread_variables.ENDPOINT,
        unread_variables.DEPLOYMENT,
        unread_variables.API_KEY,
        unread_variables.API_VERSION,
    )

    assert all(name in text("README.md") for name in names)


def test_docs_options_explains_every_command() -> None:
    assert all(f"rtbench {name}" in text("docs/options.md") for name in _commands())


def test_every_page_is_in_the_index_and_on_the_site() -> None:
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    listed = [entry.name for entry in docs.entries(text("docs/index.md"))]

    assert sorted(listed) == sorted(pages)
    assert re.findall(r"([\w-]+)\.md", text("mkdocs.yml").partition("\nnav:\n")[2]) == [
        "index",
        *listed,
    ]


def test_every_address_of_the_project_is_the_one_in_pyproject_toml() -> None:
    files = [*addresses.files()]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}

    assert [path for path, own in texts.items() if addresses.written(own) != own] == [], (
        "run `make schema`"
    )
    assert sum(bool(addresses.OWN.search(own)) for own in texts.values()) > 3


def test_docs_commands_in_texts_name_existing_pages_and_sections() -> None:
    """Messages, comments and examples contain the command `rtbench docs NAME#SECTION`.

    Unlike a link to a file, this command also works from a wheel.
    """
    folders = (ROOT / name for name in NAMING)
    texts = [
        path
        for folder in folders
        for kind in ("md", "py", "yml", "yaml")
        for path in folder.rglob(f"*.{kind}")
    ]
    named = {
        (page, section)
        for path in texts
        for pattern in (COMMAND, HELPER)
        for page, section in re.findall(pattern, path.read_text(encoding="utf-8"))
    }

    assert ("simulator", "faults") in named
    for page, section in named:
        assert not section or section in docs.headings(docs.find(page).read_text(encoding="utf-8"))


def test_no_message_names_a_file_of_docs() -> None:
    """An installed wheel does not contain the files of docs. `see` returns the command that
    prints a page.
    """
    texts = {
        path: path.read_text(encoding="utf-8")
        for top in PRODUCT
        for path in (ROOT / top).rglob("*.py")
    }
    named = [
        (path.relative_to(ROOT), node.value)
        for path, own in texts.items()
        if "docs" in own
        for node in _strings(ast.parse(own))
        if re.search(r"\bdocs/[a-z-]+\.md", node.value)
    ]

    assert named == []


def test_docs_simulator_explains_every_option() -> None:
    options = {option for parameter in _commands()["simulate"].params for option in parameter.opts}

    assert not missing(options - {"--help"}, "docs/simulator.md")


def test_the_script_in_the_readme_can_be_loaded(tmp_path: Path) -> None:
    found = [
        block
        for block in re.findall(r"```yaml\n(.*?)```", text("README.md"), re.DOTALL)
        if "steps:" in block
    ]
    script = tmp_path / "mine.yaml"
    script.write_text(
        found[0].replace("scenarios/audio", str(ROOT / "scenarios" / "audio")), encoding="utf-8"
    )

    assert len(load_script(script).steps) == 3


def test_the_table_of_sample_sizes_equals_the_tool_s_results() -> None:
    lines = (
        text("docs/sample-size.md")
        .partition("<!-- sample-size -->")[2]
        .strip()
        .split("\n\n")[0]
        .splitlines()
    )
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    turns_of_a_call = [int(number) for name in head[1:] for number in re.findall(r"\d+", name)]
    printed = [
        (
            f"print p{p * 100:.0f}",
            [quantiles.sessions_needed(p, np.full(1000, turns)) for turns in turns_of_a_call],
        )
        for p in (0.5, 0.9, 0.95, 0.99)
    ]
    decided = [
        (
            f"decide p{p * 100:.0f}",
            [
                max(verdicts.SESSIONS, to_print, -(-verdicts.turns_to_decide(p) // turns))
                for turns, to_print in zip(turns_of_a_call, least, strict=True)
            ],
        )
        for p, (_, least) in zip((0.5, 0.9, 0.95, 0.99), printed, strict=True)
    ]
    failures = [
        (
            f"decide that at most {share:.0%} ".replace("%", " %"),
            [unseen.sessions_without(share, LEVEL)] * 3,
        )
        for share in (0.05, 0.02, 0.01)
    ]

    assert turns_of_a_call == [1, 4, 10]
    for row, (question, calls) in zip(rows, [*printed, *decided, *failures], strict=True):
        assert row[0].startswith(question)
        assert [int(cell.replace(",", "")) for cell in row[1:]] == calls


def test_links_have_existing_targets() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    ]

    assert [
        f"{page.relative_to(ROOT)}: {link}"
        for page, link in links
        if "://" not in link and not _leads_somewhere(page, link)
    ] == []


def test_pages_that_texts_name_exist() -> None:
    """Names outside links are checked too: in comments, workflows and messages. Their anchors
    are not checked.
    """
    texts = [
        path
        for kind in ("md", "py", "yml", "yaml")
        for top in NAMING
        for path in (ROOT / top).rglob(f"*.{kind}")
    ]
    named = {
        (str(path.relative_to(ROOT)), page)
        for path in (*texts, *ROOT.glob("*.md"), *ROOT.glob("*.yml"))
        for page in re.findall(r"\bdocs/[a-z-]+\.md", path.read_text(encoding="utf-8"))
    }

    assert not {(path, page) for path, page in named if not (ROOT / page).is_file()}
    assert named


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or anchor in _anchors(target)


@cache
def _anchors(page: Path) -> set[str]:
    """Return the anchors that code hosts generate from headings."""
    return set(docs.headings(page.read_text(encoding="utf-8")))


def _strings(tree: ast.Module) -> Iterable[Any]:
    """Yield the strings of a module, except docstrings."""
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documented
        ):
            yield node


def _commands() -> dict[str, Any]:
    return {name: command(name) for name in MODULES}


# The site: links within `docs/` stay unchanged, all others lead to the repository.


REPOSITORY = site.addresses()["Repository"]
SITE = {"check.md", "load.md", "decisions/0001-x.md", "report.png"}


@pytest.mark.parametrize(
    ("page", "link", "leads"),
    [
        ("check.md", "load.md#quotas", "load.md#quotas"),
        ("check.md", "#baselines", "#baselines"),
        ("check.md", "report.png", "report.png"),
        ("decisions/0001-x.md", "../load.md", "../load.md"),
        ("check.md", "no-such-page.md", "no-such-page.md"),
        ("check.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("check.md", "../README.md", f"{REPOSITORY}/blob/main/README.md"),
        ("check.md", "../ARCHITECTURE.md#a-part", f"{REPOSITORY}/blob/main/ARCHITECTURE.md#a-part"),
        ("check.md", "ci/files", f"{REPOSITORY}/tree/main/docs/ci/files"),
        ("check.md", "ci/github-nightly.yml", f"{REPOSITORY}/blob/main/docs/ci/github-nightly.yml"),
    ],
)
def test_a_link_leads_to_the_site_or_to_the_repository(page: str, link: str, leads: str) -> None:
    assert site.linked(f"see [this]({link}).", page, SITE) == f"see [this]({leads})."


def test_a_code_block_with_a_word_for_tests_is_plain_code_on_the_site() -> None:
    assert site.FENCE.sub(r"\1", "```sh deployment\nlocust\n```\n") == "```sh\nlocust\n```\n"


def test_both_test_workflows_build_the_site() -> None:
    assert "make site" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8").count(
        "run: make site"
    ) == 2


def test_every_host_that_a_reader_has_to_replace_is_named_if_it_is_left_in() -> None:
    pages = [*PAGES, *(ROOT / "scenarios").rglob("*.yaml")]
    url = re.compile(r"\b(?:https?|wss?)://[A-Z][A-Z0-9.-]*[^\s`)\"'?]*")
    urls = [found for page in pages for found in url.findall(page.read_text(encoding="utf-8"))]

    assert len(urls) > 20
    for found in urls:
        with pytest.raises(SettingError, match="still has the placeholder"):
            split_url(found, "url", "url")
