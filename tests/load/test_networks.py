"""Calls over impaired networks: the counts in the rows of their sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.transport.impairment.profiles import PROFILES, NetworkProfile
from tests.load.fake_live_run import HERE, FakeDialer, FakeRun

COUNTS = ("network_dropped", "network_delayed", "network_stalls")
PAIRS = 6
BAD = NetworkProfile(stall_ms=300, stall_every_s=0.3, rate_kbit=100)


def counts_of(folder: Path, **networks: NetworkProfile | None) -> dict[str, list[tuple[Any, ...]]]:
    """Return the counts of each session of each target, in the order of the pairs."""
    dialers = {
        label: FakeDialer(
            target=replace(HERE, network_path=replace(HERE.network_path, network=network))
        )
        for label, network in networks.items()
    }
    text = "".join(f"  - text: Word {number}\n" for number in range(10))
    run = FakeRun(folder, *networks, text=f"steps:\n{text}", dialers=dialers)
    run.play(PAIRS)
    rows = sorted(run.rows("sessions"), key=lambda row: int(row["pair"]))
    assert {row["outcome"] for row in rows} == {"ok"}
    return {
        label: [tuple(row[n] for n in COUNTS) for row in rows if row["target"] == label]
        for label in networks
    }


def test_sessions_have_the_counts_of_their_network_only(tmp_path: Path) -> None:
    found = counts_of(tmp_path, none=None, good=PROFILES["good"], bad=BAD)

    assert found["none"] == [(None, None, None)] * PAIRS
    assert found["good"] == [(None, 0, 0)] * PAIRS
    assert all(
        delayed >= 10 and stalls > 0 and dropped is None
        for dropped, delayed, stalls in found["bad"]
    )


def test_the_calls_of_a_pair_have_the_same_impairment_and_other_pairs_another(
    tmp_path: Path,
) -> None:
    found = counts_of(tmp_path, west=BAD, east=BAD)

    assert found["west"] == found["east"]
    assert len(set(found["west"])) > 1
