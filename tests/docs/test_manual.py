"""`rtbench docs`: pages and sections by name, as Markdown; hints for unknown names."""

from __future__ import annotations

import re
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from rtbench.cli import docs
from tests.command_line import call

PAGE = """# One

Text.

```sh
# a comment, no heading
```

## `Two` of them

Second.

### Deeper

## Three
"""


def test_docs_without_a_name_lists_every_page_with_a_description() -> None:
    shown = call("docs").stdout

    assert re.search(r"^check +thresholds, baselines", shown, re.MULTILINE)
    assert "Decide\n" in shown
    assert "](" not in shown


@pytest.mark.parametrize("name", ["check", "check.md", "docs/check.md"])
def test_a_page_is_printed_as_markdown_if_stdout_is_no_terminal(name: str) -> None:
    assert call("docs", name).stdout == (docs.folder() / "check.md").read_text(encoding="utf-8")


def test_only_the_named_section_is_printed() -> None:
    shown = call("docs", "check#absolute-thresholds").stdout

    assert shown.startswith("### Absolute thresholds\n")
    assert "### " not in shown[4:]


def test_an_example_file_is_printed_unchanged() -> None:
    assert call("docs", "ci/github-nightly.yml").stdout.endswith(
        (docs.folder() / "ci" / "github-nightly.yml").read_text(encoding="utf-8")
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("chexk", "there is no documentation page 'chexk'; did you mean check?"),
        (
            "thresholds",
            (
                "there is no documentation page 'thresholds'; did you mean check#thresholds or"
                " scripts#thresholds?"
            ),
        ),
        ("zzzzzz", "there is no documentation page 'zzzzzz'; `rtbench docs` lists the pages"),
        ("check#baseline", "the page has no section 'baseline'; did you mean #baselines?"),
        ("../README", "there is no documentation page '../README'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_name_as_a_hint(name: str, hint: str) -> None:
    error = call("docs", name).exception

    assert isinstance(error, UsageError)
    assert str(error).startswith(hint)


def test_a_section_ends_at_the_next_heading_of_its_level_not_at_a_code_comment() -> None:
    assert list(docs.headings(PAGE)) == ["one", "two-of-them", "deeper", "three"]
    assert docs.section_of(PAGE, "two-of-them") == "## `Two` of them\n\nSecond.\n\n### Deeper\n\n"
    assert docs.section_of(PAGE, "one") == PAGE


def test_links_in_a_terminal_are_names_that_the_command_accepts() -> None:
    assert (
        docs.linked("[a](check.md#baselines), [b](load.md), [c](https://x.org/y.md)")
        == "[a](check#baselines), [b](load), [c](https://x.org/y.md)"
    )


def test_an_installed_wheel_finds_its_pages_through_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, shared = tmp_path / "lib" / "site-packages", tmp_path / "share" / "doc" / "rtbench"
    info = packages / "rtbench-1.dist-info"
    info.mkdir(parents=True)
    shared.mkdir(parents=True)
    (shared / "index.md").write_text("# All pages\n")
    (info / "METADATA").write_text("Name: rtbench\nVersion: 1\n")
    (info / "RECORD").write_text("../../share/doc/rtbench/index.md,,\n")
    monkeypatch.setattr(docs, "PACKAGE_ROOT", str(packages))
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: PathDistribution(info))

    assert docs.folder() == shared


def test_an_installation_without_pages_reports_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "rtbench-1.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("rtbench/__init__.py,,\n")
    monkeypatch.setattr(docs, "PACKAGE_ROOT", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: PathDistribution(info))

    with pytest.raises(UsageError, match="has no documentation pages"):
        docs.folder()
