"""Files that other people wrote. They are read, or refused with a short message.

No such file causes a RecursionError or an endless wait.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.base.installation import is_alive
from bench.files.safe_io import MAX_DEPTH, JsonError, open_file, read_file, read_json
from bench.plan.conversation import load_history
from bench.plan.functions import ScriptFunction, error_text
from bench.record import calibration, spool
from bench.record.folder import read_document
from bench.record.merging.merged_document import RunNumbering, first_starts, numbered_by_start
from bench.record.replay import replay_log
from bench.record.run_list import list_runs
from bench.record.spool import FACTS, PartFacts, WorkerPart
from bench.target.identity import public_claims
from bench.transport.parser import service_message
from bench.wire.events import FunctionCall
from bench.wire.settings import FunctionTool
from reports.analysis.check.baselines import read_file as read_baseline
from reports.analysis.summary.example_turns import playback_spans
from reports.analysis.summary.targets import transcription_model
from reports.analysis.trends.trend_point import read_summary
from tests.attack.hostile_files import LOG, read_log


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"[1]" + b"}" * (levels - 1)


DEEP = nested(5_000)
HUGE = b"1" + b"0" * 400


@pytest.mark.parametrize("levels", [1, MAX_DEPTH])
def test_json_may_have_up_to_the_maximum_number_of_levels(levels: int) -> None:
    assert msgspec.json.encode(read_json(nested(levels))) == nested(levels)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 5_000, 500_000])
@pytest.mark.parametrize("kind", [Any, dict[str, Any], dict[str, msgspec.Raw]])
def test_json_with_more_levels_is_refused(levels: int, kind: Any) -> None:
    with pytest.raises(JsonError, match=rf"^it is nested more than {MAX_DEPTH} levels deep$"):
        read_json(nested(levels), kind)
    with pytest.raises(JsonError, match="nested"):
        read_json(nested(levels).decode())


def check(read: Callable[[], object]) -> None:
    try:
        read()
    except JsonError as error:
        if not str(error).isprintable():
            raise AssertionError(repr(str(error))) from None


@given(
    st.one_of(st.binary(), st.text(), st.recursive(st.none() | st.integers(), st.lists).map(repr))
)
def test_any_json_input_is_read_or_refused_with_one_printable_line(data: bytes | str) -> None:
    check(lambda: read_json(data))


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Create a named pipe to which nothing writes, and return its path. To open it for reading
    would block forever.
    """
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_path_that_is_no_regular_file_is_refused_without_waiting(pipe: Path) -> None:
    for path in (pipe, pipe.parent, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            open_file(path)


def test_read_file_refuses_a_file_above_the_maximum_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")

    assert read_file(tmp_path / "a", 4) == b"1234"
    with pytest.raises(OSError, match="larger than"):
        read_file(tmp_path / "a", 3)


# Functions that read JSON from other people.


def facts_of(folder: Path, json: bytes) -> PartFacts:
    """Return the facts of a worker. `json` is the content of the file of these facts in the
    spool.
    """
    spool.prepare(folder)
    spool.path_of(folder, 0, FACTS).write_bytes(json)
    return WorkerPart(folder, 0).facts


def in_file(
    read: Callable[[Path], object], name: str = "file.json", before: bytes = b""
) -> Callable[[Path, bytes], object]:
    """Return a function that writes JSON to the file `name`, and then reads this file with `read`.

    `before` is written to the file before the JSON.
    """

    def reads(folder: Path, json: bytes) -> object:
        path = folder / name
        path.write_bytes(before + json + b"\n")
        return read(path)

    return reads


FIRST_LINE = LOG.splitlines(keepends=True)[0]
LATER = {
    "an event log": in_file(replay_log, before=FIRST_LINE),
    "an event log's head": in_file(replay_log),
    "a run": in_file(lambda path: read_document(path.parent), "run.json"),
    "a baseline": in_file(read_baseline),
    "a summary": in_file(lambda path: read_summary(path.parent), "summary.json"),
    "a history": in_file(load_history, "history.jsonl"),
}
"""The functions that raise a UsageError with a message of one line."""


@pytest.mark.parametrize("kind", LATER)
@pytest.mark.parametrize(
    "json",
    [DEEP, b"[" * 500_000, nested(900), b'{"schema":%b}' % HUGE],
    ids=["deep", "open", "less deep", "huge"],
)
def test_a_file_with_too_deep_json_is_refused_in_one_line(
    kind: str, json: bytes, tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        LATER[kind](tmp_path, json)


NOT_THERE: dict[str, tuple[Callable[[Path, bytes], object], object]] = {
    "facts of a worker": (facts_of, PartFacts()),
    "a calibration": (in_file(calibration.load_calibration), None),
    "claims of a token": (lambda _, json: public_claims(f"a.{_base64(json)}.c"), {}),
    "settings of a session": (lambda _, json: transcription_model(json.decode()), ""),
    "an event log that is drawn": (
        in_file(
            lambda path: playback_spans(path, 0, 9, 1, 0), before=b'{"audio.delta":1}\n"audio.delta'
        ),
        (),
    ),
}
"""The functions that treat a bad file or value as missing. The second entry is the result if it
is missing."""


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("kind", NOT_THERE)
@pytest.mark.parametrize(
    "json", [DEEP, b"[" * 500_000, nested(900)], ids=["deep", "open", "less deep"]
)
def test_optional_json_that_is_too_deep_is_treated_as_missing(
    kind: str, json: bytes, tmp_path: Path
) -> None:
    read, nothing = NOT_THERE[kind]

    assert read(tmp_path, json) == nothing


ORDER = ScriptFunction(FunctionTool(name="order"))


def test_worker_facts_with_an_impossible_process_id_are_ignored(tmp_path: Path) -> None:
    assert not any(map(is_alive, (2**40, 0, -1)))
    assert facts_of(tmp_path, b'{"pid":%b}' % HUGE) == PartFacts()


@pytest.mark.parametrize("json", [DEEP, nested(900)], ids=["deep", "less deep"])
def test_function_arguments_with_too_deep_json_get_an_error_as_output(json: bytes) -> None:
    call = FunctionCall("call_1", "order", json.decode())

    problem, arguments = error_text(call, {"order": ORDER}, None)

    assert (problem, arguments) == ("the arguments of order are not a JSON object", None)


def test_a_run_with_too_deep_json_does_not_hide_the_other_runs(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "run.json").write_bytes(DEEP)

    (notice,) = list_runs(tmp_path).notices

    assert notice.endswith("cannot be read: it is nested more than 64 levels deep")


@pytest.mark.parametrize("line", [DEEP, b"[" * 500_000])
def test_a_log_line_with_too_deep_json_raises_value_error(line: bytes) -> None:
    numbering = RunNumbering("run", {}, *numbered_by_start([first_starts([])], 0))

    with pytest.raises(ValueError, match="nested"):
        numbering.log_header(line)


@pytest.mark.parametrize("body", [DEEP, b"[" * 500_000])
def test_a_response_body_with_too_deep_json_is_quoted_verbatim(body: bytes) -> None:
    assert service_message(body).startswith(body[:9].decode())


def test_an_event_log_with_an_impossible_number_is_refused(tmp_path: Path) -> None:
    """The number may be at any place: it may be a time, a size or an error."""
    numbers = [match.span(1) for match in re.finditer(rb'":(\d+)', LOG)]
    for begin, end in numbers[::5]:
        path = tmp_path / "log.jsonl"
        path.write_bytes(LOG[:begin] + HUGE + LOG[end:])

        with pytest.raises(UsageError, match=r"this line is damaged|not an event log"):
            read_log(path)
