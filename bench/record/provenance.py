"""The origin of a run: its hosts (`HostEntry`), and the part of run.json that is known when the
run starts.
"""

# run.json is written before the first session, so that a run that is killed at once still states
# its origin. What is known only later (hosts of remote workers, counts, the verdict) is added when
# the run is finalized.
#
# Which options are stored is a list of permitted names. A list of forbidden ones would store a
# secret with each new option that someone forgot to add to it.

import os
import platform
import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from bench.base.cpu import merge_cpu_usage
from bench.base.installation import tool_version
from bench.catalogue.metrics import DEFINITIONS_VERSION
from bench.files.sanitize import slug
from bench.record.document import SCHEMA_VERSION
from bench.record.histograms import Histograms, worst_p99_ms
from bench.record.spool import PartLike

CPUINFO = Path("/proc/cpuinfo")
# The packages that send, receive, decode, or count. Another version of them may change latencies.
PACKAGES = ("locust", "gevent", "websockets", "msgspec", "hdrhistogram", "pyarrow", "numpy")
STORED_SETTINGS = frozenset(
    {
        "targets",
        "target_file",
        "url",
        "simulator",
        "vary",
        "dialect",
        "protocol",
        "api_key_env",
        "auth",
        "ca_file",
        "client_cert",
        "client_key",
        # of the URL and the proxy, only the public forms are stored, without secrets
        "proxy",
        "resolve",
        "compression",
        "max_message_mib",
        "rtp_ports",
        "codec",
        "srtp",
        "call_hosts",
        "turn_server",
        "offer",
        "sessions",
        "connect_rate",
        "session_pause",
        "prices",
        "budget",
        "seed",
        "arrival_rate",
        "arrival_pattern",
        "max_concurrent",
        "stages",
        "part_of",
        "whole_run",
        "locust_metrics",
        "warmup",
        "until_decided",
        "thresholds",
        "baseline",
        "on_inconclusive",
        "interim_every",
        "record_events",
        "record_audio",
        "record_transcripts",
        "runs_dir",
        "priority",
        "yes",
        "locustfile",
        "script",
        "num_users",
        "spawn_rate",
        "run_time",
        "processes",
        "stop_timeout",
        "reset_stats",
        "profile",
        "headless",
        "autostart",
        "autoquit",
        "tags",
        "exclude_tags",
        "user_classes",
        "equal_weights",
        "expect_workers",
        "exit_code_on_error",
        "loglevel",
        "only_summary",
        "csv_prefix",
        "html_file",
        "json_file",
    }
)
"""The options that are stored in run.json: ours, and Locust's that shape a load. All others may
contain a secret."""


def opening_document(
    run_id: str,
    scenario: str,
    started_utc_ns: int,
    settings: Mapping[str, Any],
    targets: Iterable[Mapping[str, Any]],
    scripts: Iterable[Mapping[str, Any]],
    workers: int,
    notices: Iterable[str],
) -> dict[str, Any]:
    """Return the run.json that is written before the first session."""
    return {
        "schema": SCHEMA_VERSION,
        "definitions_version": DEFINITIONS_VERSION,
        "tool": {"name": "rtbench", "version": tool_version()},
        "run_id": run_id,
        "scenario": scenario,
        "simulated": None,
        "state": "running",
        "started_utc_ns": started_utc_ns,
        "ended_utc_ns": None,
        "writer": {"host": socket.gethostname(), "pid": os.getpid()},
        "settings": public_settings(settings),
        "targets": list(targets),
        "scripts": list(scripts),
        "host": host(),
        "workers": workers,
        "notices": list(notices),
    }


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run that have a value and that may be stored."""
    return {
        name: value
        for name, value in sorted(settings.items())
        if name in STORED_SETTINGS and value not in (None, "", []) and value is not False
    }


def host_name() -> str:
    """Return the name of this machine. Characters other than `A-Za-z0-9_.-` become `_`."""
    return slug(socket.gethostname()) or "localhost"


NO_CLOCK = {"clock_offset_ns": None, "clock_offset_uncertainty_ns": None}
"""The clock offset of a host whose clock was not compared with the clock of another host."""


def named_host() -> dict[str, Any]:
    """Return the entry for this machine in `hosts` of run.json: its name and its facts."""
    return {"name": host_name()} | host() | NO_CLOCK


@cache
def host() -> dict[str, Any]:
    """Return the facts about this machine, and about the packages that affect the measured
    values.
    """
    from importlib.metadata import version

    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _cpu_model() -> str | None:
    """Return the name of the processor, as Linux reports it on x86; None on other platforms."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None
    )


RecordedPart = tuple[PartLike, Sequence[Mapping[str, Any]]]
LOAD_GENERATOR = {"event_loop_delay": "event_loop_delay_p99_ms", "send_delay": "send_delay_p99_ms"}
"""The key of the p99 of each histogram in a `HostEntry`."""


def recorded_by(
    parts: Sequence[PartLike], document: Mapping[str, Any], histograms: Histograms
) -> list[dict[str, Any]]:
    """Return the `HostEntry` of each host that recorded a run, from its parts and the sum of their
    histograms.

    If the facts of a part are damaged, the part is counted for the host that led the run.
    """
    by_part: list[RecordedPart] = [
        (part, [*part.facts.hosts] or [leader_of(document)]) for part in parts
    ]
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for host in chain.from_iterable(hosts for _, hosts in by_part):
        by_name.setdefault(str(host["name"]), []).append(host)
    if len(by_name) < 2:
        return [_host_entry(entries) | p99s_ms(histograms) for entries in by_name.values()]
    return [_host_entry(by_name[name]) | _lateness(name, by_part) for name in sorted(by_name)]


def leader_of(document: Mapping[str, Any]) -> dict[str, Any]:
    writer = document.get("writer") or {}
    host = document.get("host") or {}
    extra = {key: document[key] for key in ("calibration", "niceness", "reader") if key in document}
    return (
        {"name": slug(str(writer.get("host") or "")) or "localhost"} | dict(host) | extra | NO_CLOCK
    )


def _host_entry(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one entry for a host, with the sums of its workers and CPU use, and the first value
    of each other key.
    """
    host: dict[str, Any] = {}
    for entry in entries:
        host |= {key: value for key, value in entry.items() if host.get(key) is None}
    host["workers"] = sum(entry.get("workers", 1) for entry in entries)
    if usages := [entry["cpu_use"] for entry in entries if entry.get("cpu_use")]:
        host["cpu_use"] = merge_cpu_usage(usages)
    return host


# Percentiles cannot be added, but histograms can. A part that a single host recorded has the
# histograms of this host, so the p99 of several such parts is exact. A part with workers of several
# hosts has one histogram for all of them. For it, only the p99 that each worker reported is known,
# and the largest one counts.
def _lateness(name: str, by_part: Iterable[RecordedPart]) -> dict[str, float | None]:
    """Return the p99s of a host's event-loop delay and send delay, in ms. Each is the larger of two
    values.

    The first is of the sum of the parts that only this host recorded, the second the largest in its
    other entries.
    """
    total = Histograms()
    entries = []
    for part, hosts in by_part:
        host_entries = [host for host in hosts if host["name"] == name]
        if host_entries and len(hosts) == 1:
            histograms = part.histograms()
            histograms.discard(
                {key.metric for key, _ in histograms.items()} - LOAD_GENERATOR.keys()
            )
            total.merge(histograms)
        else:
            entries += host_entries
    known = [p99s_ms(total), *entries]
    return {
        key: max((entry[key] for entry in known if entry.get(key) is not None), default=None)
        for key in LOAD_GENERATOR.values()
    }


def p99s_ms(histograms: Histograms) -> dict[str, float | None]:
    """Return the p99s of event-loop delay and send delay, in ms, for the processes that recorded
    these histograms.
    """
    return {key: worst_p99_ms(histograms, metric) for metric, key in LOAD_GENERATOR.items()}
