"""Describes what is run, where and with what: the part of run.json that is known when a run begins."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.measures import DEFINITIONS_VERSION
from bench.plain import word
from bench.run.folder import SCHEMA_VERSION

CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("locust", "gevent", "websockets", "msgspec", "hdrhistogram", "pyarrow", "numpy")
KEPT_SETTINGS = frozenset(
    {
        *("targets", "target_file", "url", "dialect", "api_key_env", "auth", "ca", "client_cert", "client_key"),
        *("proxy", "resolve", "compression", "max_message_mib"),  # of the URL and the proxy, their public forms
        *("sessions", "connect_rate", "session_pause", "prices", "budget", "seed"),
        *("arrivals", "arrival_pattern", "max_sessions", "stages", "part_of"),
        *("warmup", "until_decided", "thresholds", "look_every"),
        *("record_events", "keep_audio", "transcripts", "runs", "locust_tables", "priority", "yes"),
        *("locustfile", "num_users", "spawn_rate", "run_time", "processes", "stop_timeout", "reset_stats", "profile"),
        *("headless", "autostart", "autoquit", "tags", "exclude_tags", "user_classes", "equal_weights"),
        *("expect_workers", "exit_code_on_error", "loglevel", "only_summary", "csv_prefix", "html_file", "json_file"),
    }
)
"""The options that are stored: ours, and those of Locust's that shape a load. What is not named may hold a secret."""


def tool_version() -> str:
    """The installed version of this package."""
    try:
        return version("rtbench")
    except PackageNotFoundError:
        return "unknown"


def opening_document(
    run_id: str,
    scenario: str,
    began_utc_ns: int,
    settings: Mapping[str, Any],
    targets: Iterable[Mapping[str, Any]],
    scripts: Iterable[Mapping[str, Any]],
    workers: int,
    notices: Iterable[str],
) -> dict[str, Any]:
    """run.json as it is written before the first session."""
    return {
        "schema": SCHEMA_VERSION,
        "definitions": DEFINITIONS_VERSION,
        "tool": {"name": "rtbench", "version": tool_version()},
        "run_id": run_id,
        "scenario": scenario,
        "simulated": None,
        "state": "running",
        "began_utc_ns": began_utc_ns,
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
    """The effective options that are set, of those that are kept."""
    return {
        name: value
        for name, value in sorted(settings.items())
        if name in KEPT_SETTINGS and value not in (None, "", []) and value is not False
    }


def host_name() -> str:
    """The name of this machine, made of `A-Za-z0-9_.-`."""
    return word(socket.gethostname()) or "localhost"


def named_host() -> dict[str, Any]:
    """The machine with its name, as `hosts` of run.json has it; its clock is not compared with another."""
    return {"name": host_name()} | host() | {"clock_offset_ns": None, "clock_offset_error_ns": None}


@cache
def host() -> dict[str, Any]:
    """The machine and the packages that matter to the figures."""
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _cpu_model() -> str | None:
    """The processor's name as Linux has it on x86; None elsewhere."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
