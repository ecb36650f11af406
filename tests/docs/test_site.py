"""The site: links inside `docs/` stay as they are, all others lead to the repository."""

from __future__ import annotations

import pytest

from tests.docs import site
from tests.docs.addresses import ROOT

REPOSITORY = site.addresses()["Repository"]
PAGES = {"check.md", "load.md", "decisions/0001-x.md", "report.png"}


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
def test_a_link_leads_into_the_site_or_to_the_repository(page: str, link: str, leads: str) -> None:
    assert site.linked(f"see [this]({link}).", page, PAGES) == f"see [this]({leads})."


def test_a_block_of_code_with_a_word_for_tests_is_code_on_the_site() -> None:
    assert site.FENCE.sub(r"\1", "```sh deployment\nlocust\n```\n") == "```sh\nlocust\n```\n"


def test_every_workflow_of_tests_builds_the_site() -> None:
    assert "\nmake site" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8").count("run: make site") == 2
