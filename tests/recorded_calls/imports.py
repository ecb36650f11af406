"""Functions that import recorded calls by the command, and read the run that it writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.plan.recordings import Channels, write_channels
from bench.recorded_calls.channels import CallerChannel, RecordedCall, read_call
from bench.recorded_calls.conversation import RecordedConversation, conversation
from bench.recorded_calls.script_files import RecordedUtterance, recorded_utterances
from bench.wire.audio import Samples
from tests.command_line import call
from tests.recorded_calls.constructed import ConstructedCall


@dataclass(frozen=True)
class Imported:
    """The result of `rtbench runs import` with --out FOLDER/out and --runs-dir FOLDER/runs."""

    folder: Path
    status: int
    out: list[str]
    err: list[str]

    @property
    def scripts(self) -> list[Path]:
        return sorted((self.folder / "out").glob("*.yaml"))

    @property
    def run(self) -> Path:
        (run,) = (self.folder / "runs").iterdir()
        return run

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.run / "run.json").read_text())
        return document

    def rows(self, table: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.run / f"{table}.parquet").to_pylist()
        return rows


def run_import(folder: Path, *words: object) -> Imported:
    """Run `rtbench runs import`. Raise the UsageError that ended it."""
    found = call("runs", "import", "--out", folder / "out", "--runs-dir", folder / "runs", *words)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Imported(folder, found.exit_code, found.stdout.splitlines(), found.stderr.splitlines())


def write_call(path: Path, caller: Samples, agent: Samples, rate_hz: int) -> Path:
    """Write a recording whose first channel is the caller. Both channels get the length of the
    longer one.
    """
    length = max(len(caller), len(agent))
    channels = [np.pad(samples, (0, length - len(samples))) for samples in (caller, agent)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_channels(path, Channels(np.stack(channels, axis=1), rate_hz))
    return path


def recording(call: ConstructedCall, folder: Path, caller: CallerChannel = "auto") -> RecordedCall:
    """Return a constructed call as it is read from its file."""
    return read_call(write_call(folder / "call.wav", call.caller, call.agent, call.rate_hz), caller)


def found_utterances(call: RecordedCall) -> tuple[RecordedConversation, list[RecordedUtterance]]:
    talk = conversation(call.caller_sounds, call.agent_sounds, call.audio.rate_hz, len(call.agent))
    return talk, recorded_utterances(call, talk)
