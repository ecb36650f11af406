"""Write the JSON Schemas of the files of this tool: `python -m tools.schemas`.

The schemas are generated from the types of these files, for a release and for the site. They are
not committed. `make schema` writes them into `reports/schemas`, which is part of the wheel.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from functools import cache, reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from typing import Any, get_args

import msgspec

import reports
from bench.doctor.diagnosis import DoctorDocument
from bench.observe.inputs import Input
from bench.record.calibration import Calibration
from bench.record.document import CLOSED, RunDocument
from bench.record.replay import AnyLine
from bench.record.rows import TranscriptLine
from bench.record.run_list import RunList
from reports.analysis.check.results import CheckDocument
from reports.analysis.sample_size import SampleSize
from reports.analysis.sequential.decide import DecisionDocument
from reports.analysis.summary.summary import RunResults
from reports.analysis.trends.trend import TrendDocument
from reports.metrics.stored import Baseline
from reports.pages.comparisons.document import CompareDocument
from rtbench.capacity.document import CapacityDocument
from rtbench_simulator.ground_truth_log import TRUTH_LINES
from rtbench_simulator.ready import ReadyDocument

DRAFT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(reports.__file__).parent / "schemas"
PACKAGES = ("reports.", "rtbench.")
"""The packages in whose types the text below a field is the description of the field."""
Schema = dict[str, Any]


@cache
def schemas() -> dict[str, Schema]:
    """Return every schema. The key is its name; the file of a schema is `<name>.schema.json`."""
    documents: dict[str, tuple[str, Any]] = {
        "run": ("run.json of a run folder of Realtime Bench", RunDocument),
        "summary": ("summary.json of a run folder of Realtime Bench", RunResults),
        "event-log": ("A line of an event log of Realtime Bench", event_log_line()),
        "calibration": ("A calibration file of Realtime Bench", Calibration),
        "capacity": ("capacity.json of rtbench capacity", CapacityDocument),
        "transcript": ("A line of transcripts.jsonl of Realtime Bench", TranscriptLine),
        "ready": ("What rtbench simulate says once it listens", ReadyDocument),
        "runs": ("What rtbench runs --json prints", RunList),
        "doctor": ("What rtbench doctor --json prints", DoctorDocument),
        "compare": ("compare.json of Realtime Bench", CompareDocument),
        "decision": ("decision.json of a run folder of Realtime Bench", DecisionDocument),
        "sample-size": ("What rtbench sample-size --json prints", SampleSize),
        "check": ("check.json of Realtime Bench", CheckDocument),
        "trend": ("What rtbench trend --json prints", TrendDocument),
        "baseline": ("A stored baseline of Realtime Bench", Baseline),
    }
    made = {name: schema_of(kind, name, title) for name, (title, kind) in documents.items()}
    made["run"] |= CLOSED
    lines, types = msgspec.json.schema_components(TRUTH_LINES, ref_template="#/$defs/{name}")
    truth = schema_of(Any, "truth", "A line of the ground-truth log of rtbench simulate")
    return made | {"truth": truth | {"anyOf": list(lines), "$defs": types}}


def schema_of(kind: Any, name: str, title: str) -> Schema:
    """Return the JSON Schema of a document of this type."""
    schema = msgspec.json.schema(kind, schema_hook=_schema)
    types = {entry.__name__: entry for entry in _own_types(msgspec.Struct)}
    for entry in types.keys() & schema.get("$defs", {}).keys():
        properties = schema["$defs"][entry]["properties"]
        for key, text in _descriptions(types[entry]).items():
            properties[key]["description"] = text
    return {"$schema": DRAFT, "$id": f"rtbench:{name}", "title": title} | schema


def _schema(kind: type) -> Schema:
    return {"type": ["string" if issubclass(kind, str) else "number", "null"]}


def _own_types(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """Yield the subclasses of a type that PACKAGES define."""
    for subclass in kind.__subclasses__():
        if subclass.__module__.startswith(PACKAGES):
            yield subclass
        yield from _own_types(subclass)


def _descriptions(entry: type[msgspec.Struct]) -> dict[str, str]:
    """Return the texts below the fields of a type, by the keys of the fields in JSON."""
    keys = {field.name: field.encode_name for field in msgspec.structs.fields(entry)}
    texts: dict[str, str] = {}
    for kind in entry.__mro__:
        if kind.__module__.startswith(PACKAGES):
            (definition,) = ast.parse(inspect.getsource(kind)).body
            assert isinstance(definition, ast.ClassDef)
            for field, text in pairwise(definition.body):
                match field, text:
                    case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                        texts.setdefault(keys[name], " ".join(words.split()))
    return texts


def event_log_line() -> Any:
    """Return the type of a line of the event log: a union of the types in `bench.record.replay`.

    A line may contain a message of the service. In the returned type, this message may be any JSON.
    """
    return reduce(or_, map(_without_raw, get_args(AnyLine)))


def _without_raw(line: type[Input]) -> Any:
    """Return a copy of the type `line`, with the field type Any instead of `msgspec.Raw` (undecoded
    JSON).

    msgspec cannot generate a schema for `msgspec.Raw`.
    """
    made = []
    for field in msgspec.structs.fields(line):
        if field.type is msgspec.Raw:
            made.append((field.name, Any, None))
        elif field.default_factory is not msgspec.NODEFAULT:
            made.append(
                (field.name, field.type, msgspec.field(default_factory=field.default_factory))
            )
        else:
            made.append((field.name, field.type, *([] if field.required else [field.default])))
    config = line.__struct_config__
    docs = [kind.__doc__ for kind in line.__mro__ if issubclass(kind, Input) and kind is not Input]
    about = {"__doc__": "\n\n    ".join(filter(None, docs))}
    return msgspec.defstruct(
        line.__name__,
        made,
        tag=config.tag,
        tag_field=config.tag_field,
        namespace=about,
        kw_only=True,
    )


def schema_text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> None:
    """Write each schema to its file."""
    folder.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.schema.json").write_text(schema_text(schema), encoding="utf-8")


if __name__ == "__main__":
    write()
