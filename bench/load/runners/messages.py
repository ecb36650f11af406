"""What travels between a master and its workers over Locust's wire, and what is made of all else that reaches the port.

Anyone who reaches a master's port may send anything. Locust's listener would end at the first message that it cannot
read, and the run with it. Here a message is heard that can be read, is of who it says it is of, and holds what its kind
does. All others are ignored, and counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import gevent
import msgspec
from locust.exception import RPCError, RPCReceiveError
from locust.rpc import Message, rpc
from locust.runners import MasterRunner

from bench.cpu import core_count
from bench.load.execution.progress import ProgressReport
from bench.load.lifecycle import RunRefused, StopRequested
from bench.run.calibration import SessionKind, citation, state_folder
from bench.run.provenance import host_name
from bench.run.replica import PartChunk

HERE, STOP, DRAINED = "rtbench_here", "rtbench_stop", "rtbench_drained"
REFUSED, STANDING = "rtbench_refused", "rtbench_standing"
CHUNK, PONG = "rtbench_chunk", "rtbench_pong"
"""What workers send to their master."""
DRAIN, RECEIPT, PING = "rtbench_drain", "rtbench_receipt", "rtbench_ping"
"""What a master sends to its workers."""
NOT_SENT = "(not sent: it may hold a password)"
"""Stands in the options that a master sends, for Locust's messages are open to whoever is on the way."""
MAY_HOLD_SECRETS = ("proxy", "url")
WORKERS_CLOSE_S = 30.0
"""Seconds after their last session for which the master waits for what its workers recorded."""
FIRST = ("client_ready", "locustfile")
"""What Locust's workers say before their master knows them."""


class WorkerHello(TypedDict):
    """A worker that can be told to quit: what it says of its host, and the key of its chunks' seals."""

    host: str
    cores: int
    trust: dict[str, Any]
    key: bytes


Pong: TypeAlias = tuple[int, int, int]
"""When a ping was sent, came, and was answered, by the clock of who did."""


class WorkerProgress(TypedDict):
    """How a worker stands, and for how long its starts were held back, by the arm's label."""

    standing: ProgressReport
    held_s: dict[str, float]


class PartMessage(TypedDict):
    """A piece of what a worker recorded in a run."""

    run_id: str
    chunk: PartChunk


OF_WORKERS: dict[str, Any] = {
    HERE: WorkerHello,
    PONG: Pong,
    STOP: StopRequested,
    DRAINED: dict,
    REFUSED: RunRefused,
    STANDING: WorkerProgress,
    CHUNK: PartMessage,
}
"""What workers' messages hold."""

NUMBER, COUNTS = int | float, dict[int | float, int | float]


def _holding(name: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> type:
    fields = [(key, kind | msgspec.UnsetType, msgspec.UNSET) for key, kind in (optional or {}).items()]
    return msgspec.defstruct(name, [*required.items(), *fields])


REQUEST = {"name": str, "method": str}
REQUEST_COUNTS = _holding(
    "RequestCounts",
    REQUEST,
    dict.fromkeys(("num_requests", "num_none_requests", "num_failures", "total_response_time"), NUMBER)
    | dict.fromkeys(("max_response_time", "total_content_length", "start_time"), NUMBER)
    | dict.fromkeys(("min_response_time", "last_request_timestamp"), NUMBER | None)
    | dict.fromkeys(("response_times", "num_reqs_per_sec", "num_fail_per_sec"), COUNTS),
)
REQUEST_ERRORS = _holding(
    "RequestErrors",
    REQUEST | {"error": str, "occurrences": NUMBER},
    {"first_seen": NUMBER | None, "last_seen": NUMBER | None},
)
USER_COUNTS = {"user_classes_count": dict[str, int]}
STATS = {"stats": list[REQUEST_COUNTS], "errors": dict[str, REQUEST_ERRORS], "stats_total": REQUEST_COUNTS}  # type: ignore[valid-type]
OF_LOCUST: dict[str, Any] = {
    "client_ready": str | Literal[-1],
    "locustfile": _holding("LocustfileRequest", {"version": str}),
    "heartbeat": _holding("Heartbeat", {"state": str, "current_cpu_usage": NUMBER}, {"current_memory_usage": NUMBER}),
    "spawning_complete": _holding("UserCounts", USER_COUNTS),
    "stats": _holding("Report", USER_COUNTS | STATS),
    "exception": _holding("RaisedError", {"msg": str, "traceback": str}),
    "logs": _holding("Logs", {"worker_id": str, "logs": list[str]}),
}
"""What the messages of Locust's workers hold that its handlers read; whatever else they hold is the user's."""


def trust_key(kind: SessionKind, *, tls: bool) -> str:
    """Which sessions a calibration is about, as workers say it."""
    return f"{kind}, {'TLS' if tls else 'plain'}"


def host_facts() -> dict[str, Any]:
    """What a worker says of its host before any run: its cores, and what it is trusted with."""
    folder = state_folder(os.environ)
    ways = [(kind, tls) for kind in get_args(SessionKind) for tls in (False, True)]
    trust = {trust_key(kind, tls=tls): citation(folder, kind, tls=tls) for kind, tls in ways}
    return {"host": host_name(), "cores": core_count(), "trust": trust}


def secret_options(parsed: Any) -> dict[str, Any]:
    """The options that may hold a password, as this process was given them."""
    return {name: getattr(parsed, name, None) for name in MAY_HOLD_SECRETS}


IGNORED = SimpleNamespace(count=0)
"""How many messages this process has ignored."""
_hear, _handle = rpc.Server.recv_from_client, MasterRunner.handle_message


def accept_workers_only() -> None:
    """Have the masters of this process hear workers alone; called before there is one."""
    rpc.Server.recv_from_client, MasterRunner.handle_message = _heard, _handled


def subscribe(runner: Any, kind: str, take: Callable[[str, Any], None]) -> None:
    """Have `take` called with a worker's id, and with what its message of this kind holds."""

    def heard(msg: Message, **_: Any) -> None:
        try:
            data = msgspec.convert(msg.data, OF_WORKERS[kind], builtin_types=(bytes,))
        except msgspec.ValidationError:
            IGNORED.count += 1
        else:
            take(msg.node_id, data)

    runner.register_message(kind, heard)


def _heard(server: Any) -> tuple[str, Message]:
    """Hear the next message, in place of Locust's function."""
    while True:
        try:
            client, message = _hear(server)
            if isinstance(message.type, str) and message.node_id == client:
                return client, message
        except RPCReceiveError:
            pass
        except RPCError:  # the port itself is broken, and Locust opens it again
            raise
        except Exception:  # unpacking what anybody sends may raise anything, and the port must go on
            pass  # nothing of a worker's is lost: those can be read. What is ignored is told when the run is closed.
        IGNORED.count += 1
        gevent.sleep(0)  # others have their turn, however many come


def _handled(runner: Any, client: str, message: Message) -> None:
    """Act on a message, in place of Locust's function."""
    if client not in runner.worker_indexes and message.type not in FIRST:
        IGNORED.count += 1
        return
    try:
        if (kind := OF_LOCUST.get(message.type)) is not None:
            # Before any handler has taken a part of it. Locust logs a traceback for what a listener raises, as of a
            # report, and ends with the exit status of a failure.
            msgspec.convert(message.data, kind)
        _handle(runner, client, message)
    except Exception:
        # It holds something else than its kind does: Locust's handlers take what they expect and raise whatever comes
        # of that. It is ignored, as in `_heard`.
        IGNORED.count += 1
