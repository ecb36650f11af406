"""Gathers the hosts of a run, one entry each, as `HostEntry` of `bench.run.document` has them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.cores import Processors, together
from bench.plain import word
from bench.run.histograms import Histograms, worst_p99_ms
from bench.run.part import AnyPart

HARNESS = {"hub_delay": "hub_delay_p99_ms", "send_lag": "send_lag_p99_ms"}
"""What says of each host how late its event loops ran and its audio left, by the histograms that it is made of."""


def recorded_by(parts: Sequence[AnyPart], document: Mapping[str, Any], histograms: Histograms) -> list[dict[str, Any]]:
    """The hosts that recorded a run, from all of its parts and the sum of their histograms.

    A part that does not say who recorded it, for it is damaged or of an older version, is of the host that led the run.
    """
    by_part = [(part, part.facts.hosts or [leader_of(document)]) for part in parts]
    hosts = _gathered(host for _, hosts in by_part for host in hosts)
    if len(hosts) < 2:
        return [host | _p99s_ms(histograms) for host in hosts]
    return [host | _lateness(host["name"], by_part) for host in hosts]


def hosts_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hosts that recorded a run; of one of an older version the host that led it."""
    hosts = document.get("hosts")
    return [dict(host) for host in hosts] if hosts else [leader_of(document) | {"workers": document.get("workers", 1)}]


def leader_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The host that led a run."""
    writer, host = document.get("writer") or {}, document.get("host") or {}
    beside = {key: document[key] for key in ("calibration", "niceness") if key in document}
    clock = {"clock_offset_ns": None, "clock_offset_error_ns": None}
    return {"name": word(str(writer.get("host") or "")) or "localhost"} | dict(host) | beside | clock


def _gathered(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each host, by its name: workers are added up, of all else the first value counts.

    Of its cores what the workers saw together.
    """
    by_name: dict[str, dict[str, Any]] = {}
    watched: dict[str, list[Processors]] = {}
    for entry in entries:
        name = str(entry["name"])
        host = by_name.setdefault(name, {})
        workers = host.get("workers", 0) + entry.get("workers", 1)
        host |= {key: value for key, value in entry.items() if host.get(key) is None} | {"workers": workers}
        watched.setdefault(name, []).extend([entry["processors"]] if entry.get("processors") else [])
    cores = {name: {"processors": together(seen)} for name, seen in watched.items() if seen}
    return [by_name[name] | cores.get(name, {}) for name in sorted(by_name)]


def _lateness(name: str, by_part: Iterable[tuple[AnyPart, Sequence[Mapping[str, Any]]]]) -> dict[str, float | None]:
    """HARNESS of one host: its parts added up; of a part that several hosts recorded, what stands there of this one."""
    total, entries = Histograms(), []
    for part, hosts in by_part:
        mine = [host for host in hosts if host["name"] == name]
        if mine and len(hosts) == 1:
            histograms = part.histograms()
            histograms.discard({key.measure for key, _ in histograms.items()} - HARNESS.keys())
            total.merge(histograms)
        else:
            entries += mine
    known = [_p99s_ms(total), *entries]
    return {
        key: max((entry[key] for entry in known if entry.get(key) is not None), default=None)
        for key in HARNESS.values()
    }


def _p99s_ms(histograms: Histograms) -> dict[str, float | None]:
    return {key: worst_p99_ms(histograms, measure) for measure, key in HARNESS.items()}
