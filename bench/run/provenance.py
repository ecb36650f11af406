"""What was run, where, with what: the part of run.json that is known when a run begins."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.measures import DEFINITIONS_VERSION
from bench.run.folder import SCHEMA_VERSION

PACKAGES = ("locust", "gevent", "websockets", "msgspec", "hdrhistogram", "pyarrow", "numpy")
SECRET_WORDS = ("key", "token", "secret", "password", "credential", "login")
"""An option whose name holds one of these is not stored; the name of a key's variable is."""
NOT_SECRET = frozenset({"api_key_env"})


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
    """The effective options that are set and that JSON can hold, without secrets."""
    return {
        name: value
        for name, value in sorted(settings.items())
        if value not in (None, "", [])
        and value is not False
        and isinstance(value, str | int | float | bool | list)
        and (name in NOT_SECRET or not any(word in name.lower() for word in SECRET_WORDS))
    }


def host() -> dict[str, Any]:
    """The machine and the packages that matter to the figures."""
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
    }
