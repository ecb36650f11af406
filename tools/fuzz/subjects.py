"""The subjects of fuzzing. Each subject makes a case from a random source, and checks the result of
the case.

The checks are: no traceback, no hang, one outcome per turn, consistent counts, and memory bounded
by the size of the input. A case is identified by its subject and its number: `python -m tools.fuzz
--subject NAME --first NUMBER` repeats a failure.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from websockets.frames import Opcode

import rtbench
from bench.protocols.rtp.rtp import OPUS
from bench.record.finalize import finalize
from bench.record.folder import read_table
from bench.services.openai.dialect import GA
from reports.analysis.summary.summary import summarise
from reports.pages.run_report.report import run_page
from reports.render.terminal import render_page
from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.serving.credentials import Authenticator
from rtbench_simulator.serving.server import Server, listen
from rtbench_simulator.serving.service import ServerConfig, ServerWorker
from tests.attack.hostile_files import READERS, check
from tests.helpers import (
    receive,
    reply,
)
from tests.observe.misbehaving import JUNK, check_ended, played_badly
from tests.reports import synthetic
from tests.reports.synthetic import Plan
from tests.simulator.builders import (
    AT_NS,
    CLEAR,
    COMMIT,
    CREATE,
    MS,
    REPLY,
    SECOND,
    VAD,
    append,
    build_behaviour,
    build_profile,
    function,
    hearing,
    output,
    session_update,
    sound,
    user_text,
)
from tests.system.record.parts import build_part
from tests.system.simulator.talk import UPGRADE
from tests.transport.fake_stream import (
    FAR_NS,
    LIMIT,
    PING,
    FakeStream,
    close_frame,
    cut,
    opened,
    read,
    text,
)
from tools.fuzz.damage import LEVELS, damaged_bytes, damaged_document, dumped
from tools.fuzz.event_stream import event_stream
from tools.fuzz.telephones import call_media, telephone_call, telephone_exchange, telephone_stream
from tools.fuzz.turn import turn_call
from tools.fuzz.webrtc import data_channel, webrtc_call

Subject = Callable[[Random], None]
TURNS_OF_A_WORKER = 9
MAX_EVENTS = 5_000
"""The maximum number of server events in response to the client events of one case."""


# The simulator and a client's events.


def client_events(dialect: WireDialect) -> list[dict[str, Any]]:
    """Return one of each kind of event that a client sends."""
    speech = base64.b64encode(sound(300, 600)).decode()
    item = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Before."}],
    }
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    return [
        session_update(
            dialect,
            instructions="Be brief.",
            tools=[function(order={"type": "string"})],
            tool_choice="auto",
        ),
        hearing(dialect, VAD | {"silence_duration_ms": 200}, model="whisper-1"),
        append(100),
        {"type": "input_audio_buffer.append", "audio": speech},
        COMMIT,
        CLEAR,
        user_text(),
        {
            "type": "conversation.item.create",
            "previous_item_id": "root",
            "item": item | {"id": "item_mine"},
        },
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": [picture]},
        },
        output("call_1"),
        CREATE | {"event_id": "mine"},
        CREATE
        | {"response": {"instructions": "Sing.", "conversation": "none", "metadata": {"a": "b"}}},
        {"type": "response.cancel"},
        {
            "type": "conversation.item.truncate",
            "item_id": "item_mine",
            "content_index": 0,
            "audio_end_ms": 100,
        },
        {"type": "conversation.item.retrieve", "item_id": "item_mine"},
        {"type": "conversation.item.delete", "item_id": "item_mine"},
    ]


def simulated_session(random: Random) -> None:
    """Send up to a dozen events, some of them damaged, to a session of the simulator; its output
    must be valid JSON.
    """
    dialect = random.choice((AZURE_GA, AZURE_PREVIEW))
    behaviour, now_ns, came = build_behaviour(dialect, seed=random.getrandbits(32)), AT_NS, 0
    known: list[str] = []
    for event in random.choices(client_events(dialect), k=random.randint(1, 12)):
        now_ns += random.choice((0, 1, 50, 500, 3_000)) * MS
        came += _said(behaviour, now_ns, known)
        _tell(behaviour, random, _about(event, known, random), now_ns)
    came += _said(behaviour, now_ns + 120 * SECOND, known)
    assert came < MAX_EVENTS
    behaviour.end()


def _about(event: dict[str, Any], known: Sequence[str], random: Random) -> dict[str, Any]:
    """Return the event, in most cases with an item id that exists."""
    return (
        event | {"item_id": random.choice(known)}
        if "item_id" in event and known and random.random() < 0.8
        else event
    )


def _tell(behaviour: Behaviour, random: Random, event: dict[str, Any], at_ns: int) -> None:
    match random.choice(("whole", "document", "document", "bytes", "binary")):
        case "whole":
            behaviour.receive(event, at_ns)
        case "document":
            behaviour.receive_text(
                dumped(damaged_document(random, event), random.choice(LEVELS)).encode(), at_ns
            )
        case "bytes":
            behaviour.receive_text(damaged_bytes(random, json.dumps(event).encode()), at_ns)
        case "binary":
            behaviour.receive_binary(random.randbytes(9), at_ns)


def _said(behaviour: Behaviour, until_ns: int, known: list[str]) -> int:
    """Return the number of events up to an instant. Append to `known` the IDs of the items that
    these events name.
    """
    number = 0
    for number, sent in enumerate(behaviour.due(until_ns), 1):
        event = msgspec.json.decode(sent.body)
        assert event["type"] == sent.type
        assert event["event_id"]
        if isinstance(event.get("item_id"), str):
            known[:] = [*known, event["item_id"]][-4:]
        assert number < MAX_EVENTS
    return number


# The simulator and a client's frames.


class SimulatedServer:
    """A server of the simulator on loopback; a client sends it damaged requests and frames, and
    disconnects.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Any) -> None:
        self._loop, self._address = loop, address
        self._problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self._problems.append(context))

    def __call__(self, random: Random) -> None:
        frames = b"".join(self._frame(random) for _ in range(random.randint(0, 4)))
        request = damaged_bytes(random, UPGRADE) if random.random() < 0.3 else UPGRADE
        data = request + (damaged_bytes(random, frames) if random.random() < 0.7 else frames)
        self._loop.run_until_complete(self._send(data, random.randint(1, max(1, len(data)))))
        if self._problems:
            raise self._problems[0]["exception"]

    def _frame(self, random: Random) -> bytes:
        """Return a frame of any kind, complete or a fragment, with a mask of zeros or without a
        mask.
        """
        opcode = random.choice(
            (
                Opcode.TEXT,
                Opcode.TEXT,
                Opcode.BINARY,
                Opcode.PING,
                Opcode.PONG,
                Opcode.CLOSE,
                Opcode.CONT,
            )
        )
        is_control = opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE)
        event = random.choice(client_events(AZURE_GA))
        payload = b"\x03\xe8bye" if is_control else json.dumps(event).encode()
        fin, masked = random.random() < 0.8, random.random() < 0.9
        length = len(payload)
        size = (
            bytes([length])
            if length < 126
            else (
                b"\x7e" + struct.pack("!H", length)
                if length < 65_536
                else b"\x7f" + struct.pack("!Q", length)
            )
        )
        head = bytes([opcode | 0x80 * fin, size[0] | 0x80 * masked]) + size[1:]
        return head + bytes(4 * masked) + payload

    async def _send(self, data: bytes, at: int) -> None:
        """Send the data in two parts, and then read to the end."""
        with socket.socket() as client:
            client.setblocking(False)
            await self._loop.sock_connect(client, self._address)
            with contextlib.suppress(ConnectionError):
                for piece in (data[:at], data[at:]):
                    await self._loop.sock_sendall(client, piece)
                client.shutdown(socket.SHUT_WR)
                while await self._loop.sock_recv(client, 65_536):
                    pass


@contextlib.contextmanager
def simulated_server() -> Iterator[Subject]:
    loop, listener = asyncio.new_event_loop(), listen("127.0.0.1", 0)
    server = Server(
        ServerConfig(build_profile(), [REPLY], 1, Authenticator(), services=SERVICES),
        listener,
        loop,
        ServerWorker(0, 1, 0),
    )
    yield SimulatedServer(loop, listener.getsockname())
    loop.run_until_complete(server.stop())
    loop.close()


# The load generator and a service's events.


def measured_session(random: Random) -> None:
    """Run some turns on a timeline; messages of the service are dropped, doubled, moved or
    damaged.
    """
    check_ended(*played_badly(random, "drop", "double", "move", "junk", "document", "bytes"))


# The load generator and a service's frames.


def received_frames(random: Random) -> None:
    """Receive damaged frames, split anywhere; check the size of messages, and that the end is
    reported.
    """
    frames = b"".join(_served_frame(random) for _ in range(random.randint(1, 6)))
    data = damaged_bytes(random, frames) if random.random() < 0.8 else frames
    stream = FakeStream(ends=True)
    websocket, _ = opened(stream)
    at = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 3)))
    pieces = [piece for piece in cut(data, at) if piece]
    stream.reads.extendleft(reversed([read(piece, index) for index, piece in enumerate(pieces)]))
    while messages := receive(websocket, FAR_NS):
        assert all(len(message.data) <= LIMIT for message in messages)
    assert websocket.closed is not None


def _served_frame(random: Random) -> bytes:
    event = random.choice((*JUNK, *reply(GA, "r1", "audio", 2)))
    return random.choice(
        (
            lambda: text(event),
            lambda: text(event, fin=False),
            lambda: text(event, opcode=Opcode.CONT),
            lambda: PING,
            lambda: close_frame(1000, "bye"),
            lambda: text(b"", opcode=Opcode.BINARY),
        )
    )()


# Files.


@contextlib.contextmanager
def damaged_file(kind: str) -> Iterator[Subject]:
    """Yield a check that a damaged user file is read, or refused in one line."""
    reader = READERS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.name

        def check_case(random: Random) -> None:
            path.write_bytes(damaged_bytes(random, reader.of))
            check(partial(reader.read, path))

        yield check_case


@contextlib.contextmanager
def damaged_run() -> Iterator[Subject]:
    """Yield a check that a run folder with a damaged file is summarised, or refused in one line."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = synthetic.write(
            Path(scratch) / "run",
            Plan(sessions=6, turns=2, targets=("east", "west"), usage=True),
            overload=synthetic.PEAK,
        )
        files = sorted(path for path in folder.rglob("*") if path.is_file())

        def check_case(random: Random) -> None:
            path = random.choice(files)
            content = path.read_bytes()
            _damage_file(path, random)
            try:
                check(lambda: _shown(folder))
            finally:
                _remove(path)
                path.write_bytes(content)

        yield check_case


def _damage_file(path: Path, random: Random) -> None:
    """Damage a file: its bytes, its values or its rows; or put something else in its place."""
    content, kind = (
        path.read_bytes(),
        random.choice(("bytes", "content", "content", "pipe", "folder", "device", "gone")),
    )
    if kind == "bytes" or (kind == "content" and path.suffix not in (".json", ".parquet")):
        path.write_bytes(damaged_bytes(random, content))
    elif kind == "content" and path.suffix == ".json":
        path.write_text(
            dumped(damaged_document(random, json.loads(content)), random.choice(LEVELS)),
            encoding="utf-8",
        )
    elif kind == "content":
        pq.write_table(_damaged_rows(pq.read_table(path), random), path)
    else:
        path.unlink()
        replacements: dict[str, Callable[[Path], object]] = {
            "pipe": os.mkfifo,
            "folder": os.mkdir,
            "device": partial(os.symlink, "/dev/zero"),
        }
        replacements.get(kind, lambda path: None)(path)


def _damaged_rows(rows: pa.Table, random: Random) -> pa.Table:
    """Return rows that are doubled or reordered, or that have a column missing, of another type,
    or empty.
    """
    index = random.randrange(rows.num_columns)
    name = rows.column_names[index]
    match random.choice(("twice", "shuffled", "gone", "text", "numbers", "empty")):
        case "twice":
            return pa.concat_tables([rows, rows])
        case "shuffled":
            order = random.choices(range(len(rows)), k=len(rows)) if len(rows) else []
            return rows.take(pa.array(order, pa.int64()))
        case "gone":
            return rows.drop_columns([name])
        case "text":
            return rows.set_column(
                index, name, pa.array([random.choice(("", "\x1b[2J", "x" * 5_000))] * len(rows))
            )
        case "numbers":
            return rows.set_column(
                index, name, pa.array([random.choice((0, -1, 2**63 - 1, -(2**63)))] * len(rows))
            )
        case _:
            return rows.set_column(
                index, rows.field(name), pa.nulls(len(rows), rows.field(name).type)
            )


def _shown(folder: Path) -> str:
    """Return a run as the terminal displays it."""
    return render_page(run_page(summarise(rtbench.load(folder, all_columns=False))))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def damaged_part() -> Iterator[Subject]:
    """Yield a check of a run that is not finalized, with a damaged part of one worker.

    The run is finalized with the rows of the other worker, and the possible contents of the damaged
    part are counted.
    """
    with tempfile.TemporaryDirectory() as scratch:
        original = build_part(Path(scratch), workers=2)
        parts = sorted((original / "spool").glob("*-1.*"))

        def check_case(random: Random) -> None:
            folder = Path(scratch) / "run"
            shutil.copytree(original, folder)
            try:
                for part in random.choice((*((part,) for part in parts), parts)):
                    _damage_file(folder / part.relative_to(original), random)
                document = finalize(folder)
                turns = read_table(folder, "turns").column("worker").to_pylist()
                assert turns.count(0) == TURNS_OF_A_WORKER
                missing = TURNS_OF_A_WORKER - turns.count(1)
                bounds = [
                    entry["turns"]
                    for entry in document.get("missing_workers", [])
                    if entry["worker"] == 1
                ]
                assert missing <= 0 or any(bound is None or bound >= missing for bound in bounds)
                check(lambda: _shown(folder))
            finally:
                shutil.rmtree(folder)

        yield check_case


SUBJECTS: dict[str, tuple[Callable[[], AbstractContextManager[Subject]], int]] = {
    "simulated session": (lambda: nullcontext(simulated_session), 230),
    "simulated server": (simulated_server, 80),
    "measured session": (lambda: nullcontext(measured_session), 250),
    "heard frames": (lambda: nullcontext(received_frames), 200),
    "event stream": (lambda: nullcontext(event_stream), 30),
    "telephone call": (lambda: nullcontext(telephone_call), 30),
    "telephone media": (lambda: nullcontext(partial(call_media, codec="PCMU")), 30),
    "telephone exchange": (lambda: nullcontext(telephone_exchange), 30),
    "telephone stream": (lambda: nullcontext(telephone_stream), 10),
    "call over WebRTC": (lambda: nullcontext(webrtc_call), 20),
    "data channel": (lambda: nullcontext(data_channel), 20),
    "call through TURN": (lambda: nullcontext(turn_call), 20),
    "media over WebRTC": (lambda: nullcontext(partial(call_media, codec=OPUS)), 20),
    "run folder": (damaged_run, 2),
    "worker's part": (damaged_part, 1),
    **{kind: (partial(damaged_file, kind), 97 // len(READERS)) for kind in READERS},
}
"""The function that makes each subject, and its share of a thousand cases."""
