"""Where stall_count lie, told from an event log: the same as the simulated player found while the run went on."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reports
from bench.observe.reply import Player
from bench.protocol.openai import FORMATS
from bench.run import replay
from reports.summary.single_turns import stretches
from reports.summary.summary import summarise
from reports.wording.words import talk_name
from tests.reports import synthetic
from tests.reports.synthetic import Plan

MS = 1_000_000
BUFFER_NS = 60 * MS
NAMES = ("response.output_audio.delta", "response.audio.delta")
STORED = Path(__file__).parent / "stored"


def delta(at_ns: int, size: int, name: str = NAMES[0]) -> bytes:
    """A line of a log whose audio was cut."""
    event = msgspec.Raw(json.dumps({"type": name, "response_id": "r", "item_id": "i"}).encode())
    return msgspec.json.encode(
        replay.LoggedMessage(at_ns=at_ns, wire_bytes=size * 2, event=event, audio=replay.CutAudio(bytes=size))
    )


def write(path: Path, lines: list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@given(
    deltas=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), min_size=1, max_size=20),
    name=st.sampled_from(NAMES),
)
def test_gaps_are_the_stalls_of_the_player(
    tmp_path_factory: pytest.TempPathFactory, deltas: list[tuple[int, int]], name: str
) -> None:
    """Of deltas so many ms after the one before, with so many ms of audio."""
    audio, at_ns, lines = FORMATS["pcm16"], 10**12, []
    player = Player(audio, BUFFER_NS, at_ns + deltas[0][0] * MS)
    for pause_ms, length_ms in deltas:
        at_ns += pause_ms * MS
        player.add(at_ns, 48 * length_ms, msgspec.Raw(b'""'))
        lines.append(delta(at_ns, 48 * length_ms, name))
    log = write(tmp_path_factory.mktemp("log") / "s.jsonl", lines)
    found = stretches(log, 10**12, at_ns, 48_000, BUFFER_NS)

    assert sum(after[0] - before[1] for before, after in pairwise(found)) == player.stall_duration_ns
    assert len(found) - 1 == player.stall_count
    assert found[-1][1] == player.ends_ns


def test_only_the_deltas_of_the_turn_count(tmp_path: Path) -> None:
    log = write(tmp_path / "s.jsonl", [delta(at, 4_800) for at in (100 * MS, 900 * MS, 5_000 * MS)])

    assert stretches(log, 800 * MS, 1_000 * MS, 48_000, BUFFER_NS) == ((960 * MS, 1_060 * MS),)
    assert stretches(log, 0, 50 * MS, 48_000, BUFFER_NS) == ()


def test_kept_audio_has_the_size_of_what_it_decodes_to(tmp_path: Path) -> None:
    lines = []
    for place, size in enumerate((4_800, 4_801, 4_802)):
        event = {"type": NAMES[0], "delta": base64.b64encode(bytes(size)).decode()}
        raw = msgspec.Raw(json.dumps(event).encode())
        lines.append(msgspec.json.encode(replay.LoggedMessage(at_ns=place, wire_bytes=1, event=raw)))
    log = write(tmp_path / "s.jsonl", lines)

    assert stretches(log, 0, 10, 48_000, 0) == ((0, (3 * 4_800 + 3) * 10**9 // 48_000),)


@pytest.mark.parametrize(
    "content", [b"", b'{"action":"received","at_ns":3,"event":{"type":"response.audio.delta"', b"x\n"]
)
def test_a_log_that_says_nothing_is_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.jsonl").write_bytes(content)

    assert stretches(tmp_path / "s.jsonl", 0, 10, 48_000, 0) == ()
    assert stretches(tmp_path / "absent.jsonl", 0, 10, 48_000, 0) == ()


def stalled(folder: Path, stall_ms: int) -> None:
    """A run of one turn that stalled for so long, and a log in which it stall_count for 300 ms."""
    synthetic.write(folder, Plan(sessions=1, turns=1))
    table = pq.read_table(folder / "turns.parquet")
    row = table.to_pylist()[0]
    first_ns = row["start_ns"] + row["first_audio_at_ns"]
    changes: dict[str, Any] = {"stall_duration_ns": stall_ms * MS, "stall_count": 1, "audio_bytes_received": 2 * 9_600}
    for name, value in changes.items():
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array([value], field.type))
    pq.write_table(table, folder / "turns.parquet")
    lines = [delta(first_ns, 9_600), delta(first_ns + BUFFER_NS + 500 * MS, 9_600)]
    write(folder / "events" / f"{row['session_id']}.jsonl", lines)


def test_a_stall_is_placed_where_the_log_tells_it(tmp_path: Path) -> None:
    stalled(tmp_path, 300)
    (talk,) = summarise(reports.load(tmp_path)).talks

    assert talk_name(talk) == "median turn, longest stall"
    assert len(talk.heard) == 2
    (_, stopped), (again, end) = talk.heard
    assert again - stopped == pytest.approx(0.3)
    assert end == pytest.approx(talk.end_s)


def test_a_log_that_tells_of_another_stall_is_not_believed(tmp_path: Path) -> None:
    stalled(tmp_path, 120)
    (talk,) = summarise(reports.load(tmp_path)).talks

    assert talk.heard == ()
    assert talk.stall_s == pytest.approx(0.12)


def test_a_real_log_is_read() -> None:
    run = reports.load(STORED)
    log = next((STORED / "events").glob("*.jsonl"))
    turn = run.turns[(run.turns["session_id"] == log.stem) & run.turns["ttfa_ms"].notna()]
    row = turn.iloc[0]
    begin_ns = int(row["start_ns"])
    found = stretches(log, begin_ns, begin_ns + int(row["ended_at_ns"]), 48_000, 0)

    assert found[0][0] == begin_ns + int(row["first_audio_at_ns"])
    assert sum(end - begin for begin, end in found) == pytest.approx(
        row["audio_bytes_received"] / 48_000 * 1e9, abs=1e6
    )
