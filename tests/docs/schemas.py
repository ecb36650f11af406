"""Write the JSON Schemas of the tool's files, from their types: `python -m tests.docs.schemas`."""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, get_args

import msgspec

import reports
from bench.observe.inputs import Input
from bench.run.calibration import Calibration
from bench.run.document import CLOSED, RunDocument
from bench.run.kept import KeptRuns
from bench.run.replay import AnyLine
from bench.simulator.agent_behaviour import WIRES
from bench.simulator.truth import SCHEMA as TRUTH_VERSION
from reports.comparisons.outputs import CompareDocument
from reports.gate.baselines import Baseline
from reports.gate.outputs import CheckDocument
from reports.looks.decision import DecisionDocument
from reports.records import (
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Schema,
    each,
    file_schema,
    many,
    maybe,
    one_of,
    record,
    schema_of,
)
from reports.sample_size import SampleSize
from reports.text.document import SummaryDocument
from reports.trends.outputs import TrendDocument
from rtbench.capacity.search import Capacity
from rtbench.cli.service import JSON_VERSION
from rtbench.cli.simulate import READY_VERSION

URLS = ("ga", "preview", "openai", "voice_live", "gpt_live")
"""The addresses of services in a ready file; those of agents stand beside them."""
REPORTS = Path(reports.__file__).parent
FOLDERS = {
    **{"compare": "comparisons", "decision": "looks", "check": "gate", "baseline": "gate"},
    "trend": "trends",
}
"""Which of `reports` has the schema of a document that it alone writes; the others are in `schemas`."""


def schemas() -> dict[str, Schema]:
    """Every schema by its name; it stands in `<name>.schema.json`."""
    return {
        "run": schema_of(RunDocument, "run", "run.json of a run folder of Realtime Bench") | CLOSED,
        "summary": schema_of(SummaryDocument, "summary", "summary.json of a run folder of Realtime Bench"),
        "event-log": file_schema(
            "event-log", "A line of an event log of Realtime Bench", event_log_line()
        ),
        "calibration": file_schema(
            "calibration", "A calibration file of Realtime Bench", msgspec.json.schema(Calibration)
        ),
        "capacity": file_schema("capacity", "capacity.json of rtbench capacity", msgspec.json.schema(Capacity)),
        "transcript": file_schema("transcript", "A line of transcripts.jsonl of Realtime Bench", transcript_line()),
        "truth": file_schema("truth", "A line of the ground-truth log of rtbench simulate", truth_line()),
        "ready": file_schema("ready", "What rtbench simulate says once it listens", ready_document()),
        "runs": file_schema("runs", "What rtbench runs --json prints", msgspec.json.schema(KeptRuns)),
        "doctor": file_schema("doctor", "What rtbench doctor --json prints", doctor_document()),
        "compare": schema_of(CompareDocument, "compare", "compare.json of Realtime Bench"),
        "decision": schema_of(DecisionDocument, "decision", "decision.json of a run folder of Realtime Bench"),
        "sample-size": schema_of(SampleSize, "sample-size", "What rtbench sample-size --json prints"),
        "check": schema_of(CheckDocument, "check", "check.json of Realtime Bench"),
        "trend": schema_of(TrendDocument, "trend", "What rtbench trend --json prints"),
        "baseline": schema_of(Baseline, "baseline", "A stored baseline of Realtime Bench"),
    }  # fmt: skip


def event_log_line() -> Schema:
    """The schema of a line, from the types of `bench.run.replay`; a message of the service may say anything."""
    lines = [_without_raw(line) for line in get_args(AnyLine)]
    return msgspec.json.schema(reduce(or_, lines))


def _without_raw(line: type[Input]) -> Any:
    """The same type, with anything instead of JSON that is passed on unread, which msgspec cannot describe."""
    made = []
    for field in msgspec.structs.fields(line):
        if field.type is msgspec.Raw:
            made.append((field.name, Any, None))
        elif field.default_factory is not msgspec.NODEFAULT:
            made.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        else:
            made.append((field.name, field.type, *([] if field.required else [field.default])))
    config = line.__struct_config__
    docs = [kind.__doc__ for kind in line.__mro__ if issubclass(kind, Input) and kind is not Input]
    about = {"__doc__": "\n\n    ".join(filter(None, docs))}
    return msgspec.defstruct(
        line.__name__, made, tag=config.tag, tag_field=config.tag_field, namespace=about, kw_only=True
    )


def truth_line() -> Schema:
    """The lines that `bench.simulator.truth` writes."""
    head = record({"schema": {"const": TRUTH_VERSION}, "simulated": {"const": True}, "profile": TEXT, "seed": WHOLE})
    sent = record(
        {
            "session": TEXT,
            "direction": {"const": "out"},
            "type": TEXT,
            "due_ns": WHOLE,
            "send_start_ns": WHOLE,
            "send_end_ns": maybe(WHOLE),
        }
        | {"response": maybe(TEXT), "audio_bytes": COUNT, "frame_bytes": COUNT},
        {
            "item": TEXT,
            "call": TEXT,
            "audible_at_byte": maybe(COUNT),
            "speech_at_byte": COUNT,
            "status": TEXT,
            "input_tokens": COUNT,
            "cached_tokens": COUNT,
        },
    )
    received = record(
        {
            "session": TEXT,
            "direction": {"const": "in"},
            "type": TEXT,
            "at_ns": WHOLE,
            "earliest_ns": WHOLE,
            "timestamp_source": one_of("kernel", "userspace"),
        }
        | {"event_id": maybe(TEXT), "response": maybe(TEXT)},
        {
            "from_byte": COUNT,
            "to_byte": COUNT,
            "item": TEXT,
            "call": TEXT,
            "audio_end_ms": COUNT,
            "not_simulated": {"type": "array", "items": TEXT},
        },
    )
    opened = record({"session": TEXT, "direction": {"const": "open"}, "at_ns": WHOLE, "token": maybe(COUNT)})
    refused = record({"direction": {"const": "refused"}, "at_ns": WHOLE, "status": WHOLE, "code": TEXT})
    late = each(("late_p50_ms", "late_p99_ms"), maybe(NUMBER)) | each(("late_max_ms", "cpu_s"), NUMBER)
    ended = record({"direction": {"const": "end"}, **each(("sessions", "events"), COUNT), **late})
    return {"anyOf": [head, sent, received, opened, refused, ended]}


def transcript_line() -> Schema:
    """As `bench.run.rows.said_row` has it, with the session."""
    ids = each(("service_session_id", "response_id", "item_id"), maybe(TEXT))
    return record(
        {"session_id": TEXT, **ids, "turn": COUNT, "step": TEXT} | each(("input_text", "reply_text"), maybe(TEXT))
    )


def ready_document() -> Schema:
    """As `rtbench.cli.simulate` writes its ready file, and prints it behind READY."""
    return record(
        {
            "schema": {"const": READY_VERSION},
            "simulated": {"const": True},
            "tls": FLAG,
            "ca": maybe(TEXT),
            "pid": WHOLE,
            "pids": many(WHOLE),
            "port": COUNT,
            "urls": record(each((*URLS, *(f"agent_{name}" for name in WIRES)), TEXT)),
            "identity": maybe(record(each(("endpoint", "header"), TEXT))),
        }
    )


def doctor_document() -> Schema:
    """As `docs/troubleshooting.md` has it; its version is called `version`."""
    finding = record(
        {"name": TEXT, "result": one_of("pass", "warning", "fail", "skipped"), "message": TEXT, "remedy": TEXT}
    )
    target = record(each(("name", "url", "dialect", "service"), TEXT) | {"findings": many(finding)})
    version = {"schema": {"const": JSON_VERSION}, "result": one_of("pass", "fail")}
    return record(version | {"machine": many(finding), "targets": many(target)})


def schema_text(schema: Schema) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def schema_file(name: str) -> Path:
    """The file of a schema."""
    return REPORTS / FOLDERS.get(name, "schemas") / f"{name}.schema.json"


def write() -> None:
    """Write each into its file."""
    for name, schema in schemas().items():
        schema_file(name).write_text(schema_text(schema), encoding="utf-8")


if __name__ == "__main__":
    write()
