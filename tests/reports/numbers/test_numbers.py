"""Every number of the JSON documents of e71fc801e is still in the documents, with the same labels.

A number may move to another key, but it may not change. The labels of a number are the names around it: its target, its
step, its metric. RTBENCH_SNAPSHOTS=renew stores the numbers of now. This file is deleted when `reports` has one form of
results.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.check.check import check_of
from reports.analysis.comparisons.comparison import inference
from reports.analysis.summary.group_keys import KEYS
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.named import parse_targets
from reports.analysis.trends.trend import trend_of_points
from reports.data.runs import load_for_report
from reports.pages.check.document import check_data
from reports.pages.check.report import with_sentences
from reports.pages.comparisons.document import comparison_data
from reports.pages.comparisons.interim import decision_data
from reports.pages.run_report.document import summary_data
from reports.pages.trends.page import trend_data
from reports.results.json_entries import to_json_data
from reports.statistics.differences import LEVEL
from tests.capacity.searched import LEVELS, searched
from tests.reports import synthetic
from tests.reports.check import examples
from tests.reports.comparisons.build import quick, run, targets, two
from tests.reports.conftest import DRAWS
from tests.reports.edited import edit
from tests.reports.every_run import RUNS, decided
from tests.reports.pauses import PLAN, turn_taking
from tests.reports.planned import TIGHT
from tests.reports.shared import folder
from tests.reports.synthetic import Plan
from tests.reports.telephone_calls import summary_of_calls
from tests.reports.tool_turns import summary_of_tools
from tests.reports.trends.examples import invalid, stepped

STORED = Path(__file__).parent
LABELS = ("target", "candidate", "baseline", "step", "metric", "rate", "measured_from", "turn_type", "by", "name")
"""The keys of labels. The value `all` is no label, because a value of all steps may also have no step."""
NAMES_OF_VALUES = ("p", "deadline_ms", "schema")
"""The keys of numbers that only name a value, such as the level of a quantile."""
WITHIN = {"function_voice_to_voice": ["within(2s)>0.5"], "voice_to_voice{step:goodbye}": ["within(700)>0.9"],
          "connect_total": ["within(1s)>0.9"]}  # fmt: skip


def paused() -> Path:
    return edit(Path(run(folder() / "run", PLAN)), "turns", turn_taking)


def document_of(name: str) -> Callable[[], dict[str, Any]]:
    return lambda: summary_data(RUNS[name]())


DOCUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"summary {name}": document_of(name) for name in (
        "small", "rich", "mixed", "text", "half failed", "a target without a turn", "eventful", "two places",
        "uncertain", "calls that arrive", "rising load")},
    "summary with pauses": lambda: summary_data(summarise(load_for_report(paused()))),
    "summary with tools": lambda: summary_data(summary_of_tools(folder() / "run", thresholds=WITHIN)),
    "summary of calls": lambda: summary_data(summary_of_calls(folder() / "run")),
    "summary of the stored run": lambda: summary_data(
        summarise(load_for_report(Path(synthetic.__file__).parent / "stored"))),
    "compare targets with pauses": lambda: comparison_data(quick(parse_targets([paused()]))),
    "compare runs": lambda: comparison_data(quick(two(Plan(sessions=60, turns=10),
                                                      Plan(sessions=40, turns=10, failed=0.1)))),
    "compare strata": lambda: comparison_data(quick(targets(
        Plan(sessions=120, turns=10, targets=("west", "east"), kinds=("typed", "vad"), paired=True)))),
    "check targets": lambda: check_data(with_sentences(check_of(
        examples.read(examples.PAIRED),
        examples.thresholds("ttfa: med<5s", "ttfa: p(95)<+50%", "ttfa: within(800)>0.5", "failure_rate: rate<2%")))),
    "check analyses": lambda: check_data(with_sentences(check_of(decided(TIGHT).run))),
    "decision": lambda: decision_data(decided(TIGHT)),
    "trend": lambda: trend_data(trend_of_points([*stepped(12, 12), invalid(30)])),
    "capacity": lambda: to_json_data(searched(LEVELS)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checks use as many resamples as when the numbers were stored, also if EXAMPLES=all."""
    monkeypatch.setattr(inference, "__defaults__", (LEVEL, DRAWS, None))


Numbers = dict[frozenset[str], set[str]]


def numbers_of(node: Any, labels: frozenset[str] = frozenset()) -> Iterator[tuple[frozenset[str], str]]:
    """Yield each number of a document with its labels. Null is a number, because an unknown value stays unknown."""
    if isinstance(node, dict):
        # a finding has the labels of its value, and a value those of its group
        subjects = [of for of in (node, node.get("value"), node.get("group")) if isinstance(of, dict)]
        own = {of[key] for of in subjects for key in LABELS if isinstance(of.get(key), str)} - {"all"}
        if isinstance(node.get("value"), dict):
            yield labels | own, "null"  # a finding leaves out what is unknown
        for key, value in node.items():
            if key not in NAMES_OF_VALUES:
                yield from numbers_of(value, labels | own)
    elif isinstance(node, list):
        for value in node:
            yield from numbers_of(value, labels)
    elif node is None or (isinstance(node, int | float) and not isinstance(node, bool)):
        yield labels, json.dumps(node)


def collected(document: dict[str, Any]) -> Numbers:
    found: Numbers = defaultdict(set)
    for labels, number in numbers_of(document):
        found[labels].add(number)
    return found


def file_of(name: str) -> Path:
    return STORED / f"{name.replace(' ', '-')}.txt"


def write(name: str, found: Numbers) -> None:
    lines = sorted(f"{json.dumps(sorted(labels))}\t{' '.join(sorted(numbers))}\n" for labels, numbers in found.items())
    file_of(name).write_text("".join(lines), encoding="utf-8")


def read(name: str) -> Iterator[tuple[frozenset[str], set[str]]]:
    for line in file_of(name).read_text(encoding="utf-8").splitlines():
        labels, _, numbers = line.partition("\t")
        yield frozenset(json.loads(labels)), set(numbers.split())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_number_is_still_there_with_its_labels(name: str) -> None:
    found = collected(DOCUMENTS[name]())
    if os.environ.get("RTBENCH_SNAPSHOTS") == "renew":
        write(name, found)
    lost: dict[tuple[str, ...], list[str]] = {}
    for labels, numbers in read(name):
        # the row of a group had one metric, but also counts of turns
        wanted = labels - CATALOGUE.keys() if labels & KEYS.keys() else labels
        left = numbers.difference(*(of for others, of in found.items() if wanted <= others))
        lost |= {tuple(sorted(labels)): sorted(left)} if left else {}

    assert lost == {}
