"""Hostile texts in every place of a run's folder. No command prints a text that controls a
terminal or a CI service.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.record import folder as files
from bench.record.document import RunDocument
from bench.record.spool import FACTS, path_of
from reports.analysis.summary.summary import RunResults
from reports.metrics.stored import Baseline
from tests.attack.hostile_files import places, with_value
from tests.examples import some
from tests.reports import synthetic
from tests.system.attack.steering import EVIL, PLAN, output_of, unsafe_text_in
from tests.system.record.parts import build_part

STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|##(?:vso)?\\["
)


THRESHOLDS = "ttfa:\n  - p(95)<2500\nfailures: rate<0.5\n"


def check_commands(run: Path, scratch: Path) -> None:
    """Run the commands that read a run folder, on this folder alone and together with another.

    In the small circle, these are `report` and a third of the other commands. The test's name
    selects the third.
    """
    limits, other = scratch / "ci.yaml", scratch / "other"
    limits.write_text(THRESHOLDS)
    margins = scratch / "margins.yaml"
    margins.write_text("ttfa:\n  - p(50)<+50%\n")
    if not other.exists():
        synthetic.write(other, PLAN)
    merged = scratch / "merged"
    this = zlib.crc32(os.environ["PYTEST_CURRENT_TEST"].encode())
    others: list[tuple[object, ...]] = [
        ("runs", run.parent),
        ("runs", run.parent, "--json"),
        ("report", "--open", run),
        ("check", run, "--thresholds", limits),
        ("check", run, "--thresholds", margins, "--baseline", other),
        ("check", other, "--thresholds", margins, "--baseline", run),
        ("baseline", "save", run, "--baselines-dir", scratch / "baselines"),
        ("compare", run, other, "--out", scratch),
        ("compare", run, "--out", scratch),
        ("trend", run, other, "--out", scratch / "trend.html"),
        ("trend", run, other, "--json"),
        ("runs", "merge", run, "-o", merged),
        ("runs", "merge", run, other, "-o", scratch / "both"),
        ("sample-size", "--pilot", run, "--detect", "40%"),
        ("simulate", "--from-run", run),
        ("simulate", "--from-run", f"{run}:{EVIL}"),
        ("simulate", "--from-run", run, "--from-run-step", EVIL),
        ("runs", "export", run, "--format", "csv", "--force"),
        ("runs", "export", run, "--format", "hlog", "--force"),
        ("runs", "upload", run, "http://127.0.0.1:1/c"),
        *(("runs", "replay", log) for log in sorted((run / "events").glob("*.jsonl"))[:1]),
    ]
    for words in (("report", run), ("report", run, "--only", "failed"), *some(others, 7, this)):
        harm = unsafe_text_in(output_of(*words))
        assert not harm, f"rtbench {' '.join(map(str, words))}: {harm}"
    for page in (*run.glob("*.md"), *scratch.glob("*.md")):
        assert not unsafe_text_in(page.read_text()), page
    shutil.rmtree(merged, ignore_errors=True)
    shutil.rmtree(scratch / "both", ignore_errors=True)


# Documents.


def strings(document: Any) -> list[tuple[Any, ...]]:
    """Return the paths of all texts of a document."""
    return [place for place in places(document) if isinstance(value_at(document, place), str)]


def value_at(document: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def with_evil_texts(document: Any, fits: Callable[[Any], bool]) -> Any:
    """Return the document with the evil text appended to every text for which `fits` is true.

    Different names stay different.
    """
    for place in strings(document):
        changed = with_value(document, place, value_at(document, place) + EVIL)
        document = changed if fits(changed) else document
    return with_evil_keys(document)


def with_evil_keys(value: Any) -> Any:
    """Return the value with an evil key added to each object with free names."""
    if isinstance(value, list):
        return [with_evil_keys(part) for part in value]
    if not isinstance(value, dict):
        return value
    inner = {key: with_evil_keys(part) for key, part in value.items()}
    return inner | {f"{next(iter(inner))}{EVIL}": next(iter(inner.values()))} if inner else inner


def is_run(document: Any) -> bool:
    return fits(RunDocument)(document)


def fits(kind: Any) -> Callable[[Any], bool]:
    def fit(document: Any) -> bool:
        try:
            msgspec.convert(document, kind)
        except msgspec.ValidationError:
            return False
        return True

    return fit


MORE = {
    "labels": {"commit": "1a2b3c"},
    "notices": ["Its clock was 90 s off."],
    "stopped": "all sessions are done",
    "part_of": "night",
    "incidents": [
        {
            "at_utc_ns": synthetic.BEGAN_NS,
            "worker": 0,
            "kind": "auth_refresh",
            "text": "of worker 0",
        }
    ],
    "incident_counts": {"auth_refresh": 1},
    "lost": [{"worker": 3, "host": "blue", "sessions": 2, "turns": 4}],
}


@pytest.fixture
def run_with_evil_texts(tmp_path: Path) -> Path:
    return synthetic.write(tmp_path / "runs" / "spoken", PLAN, **MORE)


def test_texts_of_run_json_do_not_control_the_terminal_or_the_ci(
    run_with_evil_texts: Path, tmp_path: Path
) -> None:
    document = with_evil_texts(files.read_document(run_with_evil_texts), is_run)
    assert json.dumps(document).count("set-output") > 30
    files.write_document(run_with_evil_texts, document)

    check_commands(run_with_evil_texts, tmp_path)


# Names of folders.


@pytest.mark.parametrize(
    "named", [True, False], ids=["named by its document", "named by its folder"]
)
def test_folder_names_do_not_control_the_terminal_or_the_ci(tmp_path: Path, named: bool) -> None:
    """The run was unpacked from an archive: each folder above it has an evil name, and so has
    the run's own folder.
    """
    run = synthetic.write(tmp_path / f"runs{EVIL}" / f"a `run` <b>{EVIL}", PLAN, **MORE)
    if not named:
        document = files.read_document(run)
        files.write_document(
            run,
            {key: value for key, value in document.items() if key not in ("run_id", "scenario")},
        )
    scratch = tmp_path / f"scratch{EVIL}"
    scratch.mkdir()

    check_commands(run, scratch)
    for page in (*run.glob("*.html"), *scratch.glob("*.html")):
        assert not STEERS.search(page.read_text()), page
    assert "<b>\\x1b" not in (run / "report.md").read_text() + (run / "report.html").read_text()


# Rows, and the files next to them.

DECISION = {
    "pairs": 4,
    "bootstrap_samples": 9,
    "analyses": [2, 4],
    "primary_metrics": {"ttfa": ["p(50)<+10%"]},
    "alpha": 0.05,
    "spending": "obf",
}


@pytest.mark.parametrize(
    "left",
    [(), ("outcome", "phase", "measured_from", "turn_type", "target")],
    ids=["all", "free words"],
)
def test_texts_of_rows_and_decisions_do_not_control_the_terminal_or_the_ci(
    run_with_evil_texts: Path, tmp_path: Path, left: tuple[str, ...]
) -> None:
    files.write_document(
        run_with_evil_texts,
        files.read_document(run_with_evil_texts) | {"sequential_plan": DECISION},
    )
    (run_with_evil_texts / "decision.json").write_text(
        json.dumps({"sentence": f"at look 1 of 2: {EVIL}"})
    )
    for table in ("turns", "sessions", "seconds"):
        path = run_with_evil_texts / f"{table}.parquet"
        pq.write_table(evil_rows(pq.read_table(path), left), path)

    check_commands(run_with_evil_texts, tmp_path)


def evil_rows(table: pa.Table, left: tuple[str, ...]) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name not in left:
            words = [
                None if word is None else word + EVIL for word in table.column(place).to_pylist()
            ]
            table = table.set_column(place, field, pa.array(words, field.type))
    return table


def test_texts_of_summaries_and_baselines_do_not_control_the_terminal_or_the_ci(
    run_with_evil_texts: Path, tmp_path: Path
) -> None:
    output_of("report", run_with_evil_texts)
    output_of("baseline", "save", run_with_evil_texts, "--baselines-dir", tmp_path / "baselines")
    for path, kind in (
        (run_with_evil_texts / "summary.json", RunResults),
        *((path, Baseline) for path in tmp_path.glob("baselines/*/*/*.json")),
    ):
        path.write_text(json.dumps(with_evil_texts(json.loads(path.read_text()), fits(kind))))

    kept = tmp_path / "baselines"
    limits = tmp_path / "margins.yaml"
    limits.write_text("ttfa:\n  - p(50)<+50%\n")
    for words in (
        ("trend", run_with_evil_texts, kept, "--out", tmp_path / "trend.html"),
        ("trend", run_with_evil_texts, kept, "--json"),
        ("baseline", "list", "--baselines-dir", kept),
        *(
            (
                "baseline",
                "show",
                f"{path.parent.parent.name}/{path.parent.name}",
                "--baselines-dir",
                kept,
            )
            for path in kept.glob("*/*/*.json")
        ),
        ("check", run_with_evil_texts, "--thresholds", limits, "--baseline", kept),
        ("check", run_with_evil_texts, "--thresholds", limits, "--baseline", f"{kept}:east"),
    ):
        assert not unsafe_text_in(output_of(*words)), words


def test_texts_of_a_worker_do_not_control_the_terminal_or_the_ci(tmp_path: Path) -> None:
    """The counters and transcripts of a worker, in a run that is not finalized."""
    folder = build_part(tmp_path / "runs", "part", host="red")
    facts = path_of(folder, 0, FACTS)
    whole = json.loads(facts.read_text()) | {
        "unknown_events": {"a": 1},
        "negative": {"ttfa": 1},
        "out_of_range": {"ttfa": 1},
    }
    facts.write_text(json.dumps(with_evil_texts(whole, lambda _: True)))

    check_commands(folder, tmp_path)


@pytest.mark.parametrize(
    "limits",
    [{EVIL: "p(95)<1s"}, {"ttfa": ["p(95)<2500", EVIL]}, {f"ttfa{{step:{EVIL}}}": "p(95)<1s"}],
)
def test_texts_of_thresholds_do_not_control_the_terminal_or_the_ci(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    run, file = synthetic.write(tmp_path / "run", PLAN), tmp_path / "ci.yaml"
    file.write_text(json.dumps(limits))

    for words in (
        ("check", run, "--thresholds", file),
        ("check", run, "--thresholds", file, "--baseline", run),
    ):
        assert not unsafe_text_in(output_of(*words)), words
    assert not (run / "check.md").exists() or not unsafe_text_in((run / "check.md").read_text())
