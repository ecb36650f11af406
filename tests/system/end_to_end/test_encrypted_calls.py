"""Encrypted calls of a run to the simulator: their turns are answered, and the keys are in no
file of the run.
"""

from __future__ import annotations

import base64
import gzip
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.simulator_process import GUARD_S, quick_simulator
from tests.system.end_to_end.played_calls import DIGIT, GREETING, NUMBER, Calls, play, script

LOOPBACK = "127.0.0.1"
KEY = re.compile(rb"inline:([A-Za-z0-9+/]{40})")


class Relay:
    """A SIP proxy without Record-Route: it sees INVITE and its responses, and with them the keys
    of both sides.
    """

    def __init__(self, port: int) -> None:
        self._callers, self._agent = (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)
        )
        self._callers.bind((LOOPBACK, 0))
        self._agent.connect((LOOPBACK, port))
        self.port = self._callers.getsockname()[1]
        self.keys: set[bytes] = set()
        self._sources: dict[bytes, tuple[str, int]] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.is_set():
            for sock in select.select((self._callers, self._agent), (), (), 0.05)[0]:
                data, source = sock.recvfrom(65_535)
                call_id = data.partition(b"\r\nCall-ID: ")[2].partition(b"\r\n")[0]
                self.keys.update(KEY.findall(data))
                if sock is self._callers:
                    self._sources[call_id] = source
                    self._agent.send(data)
                else:
                    self._callers.sendto(data, self._sources[call_id])

    def close(self) -> None:
        self._ends.set()
        self._thread.join(GUARD_S)
        self._callers.close()
        self._agent.close()


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    relayed = Relay(port)
    try:
        yield relayed
    finally:
        relayed.close()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Calls, set[bytes]]:
    """Return a run of two calls with everything that a run can record, and the keys of the
    calls.
    """
    folder = tmp_path_factory.mktemp("encrypted")
    recorded = "--record-events 100% --record-audio --record-transcripts --loglevel DEBUG"
    options = f"--yes --srtp required {recorded}".split()
    truth = str(folder / "truth.jsonl")
    with quick_simulator(folder, "--ground-truth", truth) as ready, relay(ready.port) as relayed:
        url, steps = f"sip:agent@{LOOPBACK}:{relayed.port}", script(GREETING, DIGIT, NUMBER)
        run = play(folder, steps, url, 2, {"calls": ""}, *options)
    (folder / "output").write_text(run.output, encoding="utf-8")
    (folder / "simulator").write_text(ready.output, encoding="utf-8")
    return run, relayed.keys


def content(file: Path) -> bytes:
    """Return the content of a file. Compressed content is decompressed."""
    if file.suffix == ".parquet":
        return (
            pq.read_table(file)
            .to_pandas()
            .to_json(default_handler=str)
            .replace("\\/", "/")
            .encode()
        )
    data = file.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_each_turn_of_an_encrypted_call_is_answered(encrypted: tuple[Calls, set[bytes]]) -> None:
    turns, sessions = encrypted[0].turns, encrypted[0].sessions

    assert set(turns["outcome"]) == set(sessions["outcome"]) == {"ok"}
    assert (len(turns), len(sessions)) == (4, 2)
    assert turns["first_audible_at_ns"].notna().all()
    assert (sessions["rtp_lost"] + sessions["rtp_late"] < sessions["rtp_expected"]).all()


def test_no_file_of_the_run_contains_a_key(encrypted: tuple[Calls, set[bytes]]) -> None:
    run, keys = encrypted
    files = {file: content(file) for file in run.folder.rglob("*") if file.is_file()}
    secrets = (
        keys
        | {base64.b64decode(key) for key in keys}
        | {base64.b64decode(key).hex().encode() for key in keys}
    )

    assert len(keys) == 2 * (2 + 1)  # of each call, two offered keys and one answered key
    assert {file.parent.name for file in files} >= {"events", run.run.name}
    assert not {
        file
        for file, data in files.items()
        for secret in secrets
        if secret in data or KEY.search(data)
    }
