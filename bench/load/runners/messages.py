"""The messages between a master and its workers, and a filter for everything else that arrives at
the master's port.

The messages use Locust's connection. Anyone who can reach the port can send anything to it.
Locust's listener, and with it the run, would end at the first message that it cannot decode.
Therefore a message is accepted only if it can be decoded, if the sender that it names is its real
sender, and if its content has the form of its kind. All other messages are ignored and counted.
"""

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, TypedDict, get_args

import gevent
import msgspec
from locust.exception import RPCError, RPCReceiveError
from locust.rpc import Message, rpc
from locust.runners import MasterRunner

from bench.base.cpu import core_count
from bench.load.execution.progress import ProgressReport
from bench.load.lifecycle import RunRefused, StopRequested
from bench.record.calibration import SessionKind, citation, state_folder
from bench.record.provenance import host_name
from bench.record.replica import PartChunk

HERE = "rtbench_here"
STOP = "rtbench_stop"
DRAINED = "rtbench_drained"
REFUSED = "rtbench_refused"
PROGRESS = "rtbench_progress"
CHUNK = "rtbench_chunk"
PONG = "rtbench_pong"
"""The messages from workers to their master: HERE, STOP, DRAINED, REFUSED, PROGRESS, CHUNK and
PONG."""
DRAIN = "rtbench_drain"
RECEIPT = "rtbench_receipt"
PING = "rtbench_ping"
"""The messages from a master to its workers."""
NOT_SENT = "(not sent: it may contain a password)"
"""The text in place of an option with a secret, because anyone on the network path can read
Locust's messages."""
MAY_HOLD_SECRETS = ("proxy", "url")
WORKERS_CLOSE_S = 30.0
"""The maximum wait of the master for the data of its workers, in seconds, after their last
session has ended."""
FIRST = ("client_ready", "locustfile")
"""The kinds of messages that a worker of Locust sends before its master knows the worker."""


class WorkerHello(TypedDict):
    """The first message of a worker. It is sent when the worker can receive a request to quit.

    It contains facts about the worker's host. `key` is the key with which the worker seals its
    chunks.
    """

    host: str
    cores: int
    trust: dict[str, Any]
    key: bytes


Pong = tuple[int, int, int]
"""The instants at which a ping was sent (master's clock), received, and answered (worker's
clock)."""


class PartMessage(TypedDict):
    """A chunk of the data that a worker recorded in a run."""

    run_id: str
    chunk: PartChunk


OF_WORKERS: dict[str, Any] = {
    HERE: WorkerHello,
    PONG: Pong,
    STOP: StopRequested,
    DRAINED: dict,
    REFUSED: RunRefused,
    PROGRESS: ProgressReport,
    CHUNK: PartMessage,
}
"""The form that the content of a worker's message has, by the kind of the message."""
NUMBER = int | float
COUNTS = dict[int | float, int | float]


def _holding(name: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> type:
    fields = [
        (key, kind | msgspec.UnsetType, msgspec.UNSET) for key, kind in (optional or {}).items()
    ]
    return msgspec.defstruct(name, [*required.items(), *fields])


REQUEST = {"name": str, "method": str}
REQUEST_COUNTS = _holding(
    "RequestCounts",
    REQUEST,
    dict.fromkeys(
        ("num_requests", "num_none_requests", "num_failures", "total_response_time"), NUMBER
    )
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
STATS = {
    "stats": list[REQUEST_COUNTS],  # type: ignore[valid-type]
    "errors": dict[str, REQUEST_ERRORS],  # type: ignore[valid-type]
    "stats_total": REQUEST_COUNTS,
}
OF_LOCUST: dict[str, Any] = {
    "client_ready": str | Literal[-1],
    "locustfile": _holding("LocustfileRequest", {"version": str}),
    "heartbeat": _holding(
        "Heartbeat", {"state": str, "current_cpu_usage": NUMBER}, {"current_memory_usage": NUMBER}
    ),
    "spawning_complete": _holding("UserCounts", USER_COUNTS),
    "stats": _holding("Report", USER_COUNTS | STATS),
    "exception": _holding("RaisedError", {"msg": str, "traceback": str}),
    "logs": _holding("Logs", {"worker_id": str, "logs": list[str]}),
}
"""The form of the content of a message of Locust's workers, by its kind: the fields that
Locust's handlers read."""


def trust_key(kind: SessionKind, *, tls: bool) -> str:
    """Return the key under which workers report their calibration for a kind of sessions, with
    or without TLS.
    """
    return f"{kind}, {'TLS' if tls else 'plain'}"


def host_facts() -> dict[str, Any]:
    """Return the facts that a worker reports about its host before any run: its name, cores and
    calibrations.
    """
    folder = state_folder(os.environ)
    variants = [(kind, tls) for kind in get_args(SessionKind) for tls in (False, True)]
    trust = {trust_key(kind, tls=tls): citation(folder, kind, tls=tls) for kind, tls in variants}
    return {"host": host_name(), "cores": core_count(), "trust": trust}


def secret_options(parsed: Any) -> dict[str, Any]:
    """Return the options of this process that may contain a password."""
    return {name: getattr(parsed, name, None) for name in MAY_HOLD_SECRETS}


IGNORED = SimpleNamespace(count=0)
"""The number of messages that this process has ignored."""
_receive_unchecked = rpc.Server.recv_from_client
_handle = MasterRunner.handle_message


def accept_workers_only() -> None:
    """Make the masters of this process accept only messages of workers. Call this before a
    master is made.
    """
    rpc.Server.recv_from_client = _receive
    MasterRunner.handle_message = _handled


def subscribe(runner: Any, kind: str, on_message: Callable[[str, Any], None]) -> None:
    """Make the runner call `on_message` with the worker's id and the content of each message of
    this kind.
    """

    def handle(msg: Message, **_: Any) -> None:
        try:
            data = msgspec.convert(msg.data, OF_WORKERS[kind], builtin_types=(bytes,))
        except msgspec.ValidationError:
            IGNORED.count += 1
        else:
            on_message(msg.node_id, data)

    runner.register_message(kind, handle)


def _receive(server: Any) -> tuple[str, Message]:
    """Wait for the next valid message, and return it with its sender. This replaces a function
    of Locust.
    """
    while True:
        try:
            client, message = _receive_unchecked(server)
            if isinstance(message.type, str) and message.node_id == client:
                return client, message
        except RPCReceiveError:
            pass
        except RPCError:  # the port itself failed, and Locust opens it again
            raise
        except Exception:  # unpacking arbitrary data may raise anything, and the port must continue
            # no worker's message is lost, because those can be decoded; the number of ignored ones
            # is reported at the end
            pass
        IGNORED.count += 1
        gevent.sleep(0)  # yield to other greenlets, however many messages come


def _handled(runner: Any, client: str, message: Message) -> None:
    """Handle a message if it is valid. Otherwise count it as ignored. This replaces a function
    of Locust.
    """
    if client not in runner.worker_indexes and message.type not in FIRST:
        IGNORED.count += 1
        return
    try:
        if (kind := OF_LOCUST.get(message.type)) is not None:
            # Validate before any handler uses a part of the message. If a listener raises, as for a
            # report, Locust logs a traceback and ends with the exit status of a failure.
            msgspec.convert(message.data, kind)
        _handle(runner, client, message)
    except Exception:
        # The content does not fit the kind: Locust's handlers use it unchecked and may raise
        # anything. It is ignored, as in `_receive`.
        IGNORED.count += 1
