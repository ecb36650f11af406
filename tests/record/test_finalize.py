"""The finalization of a run.

A cleanly ended run and a killed run have the same files and totals. Rates are computed from the rows.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.base.errors import UsageError
from bench.catalogue.columns import TURN_KEYS, UNCERTAINTY_COLUMNS
from bench.record import folder as files
from bench.record import presence
from bench.record.finalize import finalize, writer_is_gone
from bench.record.histograms import HistogramKey, distribution, read
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import FACTS, Spool, path_of
from tests.helpers import AT_NS, MS, S, at, build_observation, build_session
from tests.record.builders import BEGAN_NS, build_run, contents, finished, kill, labels, leave, play, tables


@pytest.fixture(scope="module")
def finished_and_closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a run that is not finalized, and a finalized copy of it.

    A test copies these folders before it changes them.
    """
    folder = finished(tmp_path_factory.mktemp("finished"))
    whole = Path(shutil.copytree(folder, folder.parent / "whole"))
    finalize(whole)
    return folder, whole


def test_uncertainties_are_in_a_separate_file_with_one_row_per_turn(
    finished_and_closed: tuple[Path, Path],
) -> None:
    _, folder = finished_and_closed
    turns, bounds = (pq.read_table(folder / f"{name}.parquet") for name in ("turns", "uncertainty"))

    assert set(UNCERTAINTY_COLUMNS).isdisjoint(turns.column_names)
    assert bounds.column_names == [*TURN_KEYS, *UNCERTAINTY_COLUMNS]
    assert bounds.select([*TURN_KEYS]).equals(turns.select([*TURN_KEYS]))
    assert bounds["first_audio_uncertainty_ns"].null_count < len(bounds)
    assert not files.no_uncertainty(folder)


@pytest.mark.parametrize("name", ["uncertainty", "turns"])
def test_a_close_interrupted_before_a_turns_file_exists_can_be_repeated(tmp_path: Path, name: str) -> None:
    folder = finished(tmp_path)
    before, replace = tables(folder), os.replace

    def cut(old: Path, new: Path) -> None:
        if Path(new).name == f"{name}.parquet":
            raise KeyboardInterrupt
        replace(old, new)

    with patch("bench.record.finalize.os.replace", cut), pytest.raises(KeyboardInterrupt):
        finalize(folder)
    assert not (folder / "turns.parquet").exists()
    assert tables(folder) == before
    finalize(folder)
    assert tables(folder) == before
    assert not files.no_uncertainty(folder)


LOSSES: dict[str, Callable[[Path], object]] = {
    "it has no uncertainty.parquet": lambda path: path.unlink(),
    "its uncertainty.parquet cannot be read: ": lambda path: path.write_bytes(b"PAR1 torn"),
    "the rows of its uncertainty.parquet do not match its turns": lambda path: pq.write_table(
        pq.read_table(path).slice(1), path
    ),
}


@pytest.mark.parametrize("why", LOSSES)
def test_lost_uncertainties_are_null_and_other_columns_are_unchanged(
    finished_and_closed: tuple[Path, Path], tmp_path: Path, why: str
) -> None:
    folder = Path(shutil.copytree(finished_and_closed[1], tmp_path / "lost"))
    before = files.read_table(folder, "turns")
    LOSSES[why](folder / "uncertainty.parquet")
    rows = files.read_table(folder, "turns")
    batches = files.stored_batches(folder, "turns", rows.column_names, 2)

    assert rows.drop_columns([*UNCERTAINTY_COLUMNS]).equals(before.drop_columns([*UNCERTAINTY_COLUMNS]))
    assert {rows[name].null_count for name in UNCERTAINTY_COLUMNS} == {len(rows)}
    assert pa.Table.from_batches(batches) == rows
    assert files.no_uncertainty(folder).startswith(why)


def test_small_uncertainty_files_pass_the_check_of_row_counts(
    finished_and_closed: tuple[Path, Path],
) -> None:
    _, folder = finished_and_closed
    before = files.read_table(folder, "turns")
    least = (folder / "turns.parquet").stat().st_size // len(before)
    assert (folder / "uncertainty.parquet").stat().st_size // least < len(before)

    with patch("bench.record.folder.ANY_ROWS", 0), patch("bench.record.folder.BYTES_PER_ROW", least):
        assert files.read_table(folder, "turns") == before
        assert pa.Table.from_batches(files.stored_batches(folder, "turns", before.column_names, 4)) == before
        assert not files.no_uncertainty(folder)


def test_turns_read_in_batches_have_their_own_uncertainties(
    finished_and_closed: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished_and_closed[1], tmp_path / "cut"))
    bounds = pq.read_table(folder / "uncertainty.parquet")
    place = bounds.schema.get_field_index(UNCERTAINTY_COLUMNS[0])
    told_apart = bounds.set_column(place, bounds.field(place), pa.array(range(len(bounds)), pa.int64()))
    pq.write_table(told_apart, folder / "uncertainty.parquet", row_group_size=2)
    whole = files.read_table(folder, "turns")

    for most in (1, 4, 100):
        batches = list(files.stored_batches(folder, "turns", whole.column_names, most))
        assert max(map(len, batches)) <= most
        assert pa.Table.from_batches(batches) == whole


def test_a_clean_end_turns_the_spool_into_the_final_files(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    before = tables(folder)
    document = finalize(folder)

    assert {path.name for path in folder.iterdir()} == {
        "run.json",
        "turns.parquet",
        "uncertainty.parquet",
        "sessions.parquet",
        "seconds.parquet",
        "histograms.hlog",
    }
    assert tables(folder) == before
    assert files.read_document(folder) == document
    assert (document["state"], document["simulated"], document["receive_timestamp_source"]) == (
        "ended",
        False,
        "kernel",
    )
    totals = document["totals"]
    assert totals["turns"] == {"unfinished": 1, "failed:x": 2, "ok": 6}
    assert totals["sessions"] == {"closed:1006": 3}
    assert sum(totals["turns"].values()) == totals["turns_started"] == 9
    assert (totals["turns_planned"], totals["turns_not_started"], totals["events"]) == (15, 6, 102)
    assert (totals["unknown_events"], totals["timestamp_fallbacks"]) == ({"x.y": 6, "z": 3}, 6)
    assert (totals["negative"], totals["out_of_range"]) == ({}, {})
    assert document["validity"]["status"] == "valid"


def kill_early(folder: Path) -> None:
    """Change the folder to its state after the writer was killed before it wrote its histograms."""
    kill(folder)
    for path in (folder / "spool").glob("histograms-*.hlog"):
        path.unlink()


def closed_and_killed(folder: Path) -> Path:
    """Finalize a run and a copy of it, and return the copy. The copy was killed before it wrote its histograms."""
    killed = folder.parent / "killed"
    shutil.copytree(folder, killed)
    kill_early(killed)
    finalize(folder)
    finalize(killed)
    return killed


@pytest.mark.parametrize("how", [kill, kill_early])
def test_a_killed_run_has_the_rows_and_totals_of_a_clean_run(
    finished_and_closed: tuple[Path, Path], tmp_path: Path, how: Callable[[Path], object]
) -> None:
    unclosed, clean = finished_and_closed
    killed = Path(shutil.copytree(unclosed, tmp_path / "killed"))
    how(killed)
    ended, cut = files.read_document(clean), finalize(killed)

    assert tables(killed) == tables(clean)
    assert cut["totals"] == ended["totals"]
    assert (ended["state"], cut["state"]) == ("ended", "killed")
    assert "killed" in cut["stop_reason"]
    assert cut["ended_utc_ns"] == ended["ended_utc_ns"]


def test_after_a_kill_histograms_are_computed_from_the_rows(
    finished_and_closed: tuple[Path, Path], tmp_path: Path
) -> None:
    unclosed, clean = finished_and_closed
    killed = Path(shutil.copytree(unclosed, tmp_path / "killed"))
    kill_early(killed)
    finalize(killed)

    of_rows = contents(read(killed / "histograms.hlog"))
    whole = contents(read(clean / "histograms.hlog"))
    assert of_rows == {tag: whole[tag] for tag in of_rows}
    assert {"stall_duration", "network_rtt", "ttfa_minus_rtt", "ttfa"} <= {tag.split("|")[0] for tag in of_rows}
    events = {"delta_gap", "receive_delay", "event_loop_delay", "send_delay", "timestamp_uncertainty"}
    assert {tag.split("|")[0] for tag in whole.keys() - of_rows.keys()} == events


IN_CLEAR = {"connect_start": AT_NS, "dns_done": at(1), "tcp_done": at(3), "opened": at(20), "ended": at(99)}
PLANNED = {"intended_start": at(-7), "connect_start": AT_NS, "ended": at(99)}
SPOKEN = {"speech_end": at(1), "speech_stopped": at(201), "first_audio": at(501), "ended": at(900)}
TYPED = {"request_sent": at(0), "first_audio": at(200), "ended": at(900)}
Counted = dict[tuple[str, str], list[int] | int]
COUNTED: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], Counted]] = {
    # (turns, sessions; by (metric, step): the values in µs, or their number)
    "without TLS the upgrade begins at the TCP connection":
        ([], [{"instants": IN_CLEAR}, {}], {("connect_upgrade", "all"): [12_000, 17_000], ("connect_tls", "all"): 1}),
    "start delays of sessions": ([], [{"instants": PLANNED}, {}], {("start_delay", "all"): [7_000]}),
    "turns that count from different instants are not pooled":
        ([{"instants": SPOKEN}, {"instants": SPOKEN}, {"instants": TYPED}], [],
         {("ttfa", "voice_turns.greeting"): 1, ("ttfa", "voice_turns.greeting.speech_end"): 2}),
    "behind a proxy ttfa_minus_rtt is absent":
        ([{"rtt_scope": scope} for scope in ("proxy", "service", None)], [{"auth_wait_ns": 40 * MS}],
         {("ttfa_minus_rtt", "voice_turns.greeting"): 2, ("network_rtt", "voice_turns.greeting"): 3,
          ("auth_wait", "all"): 1}),
}  # fmt: skip


@pytest.mark.parametrize(("turns", "sessions", "counted"), COUNTED.values(), ids=COUNTED)
@pytest.mark.parametrize("how", [leave, kill_early])
def test_histogram_counts_are_the_same_after_a_kill(
    tmp_path: Path, how: Callable[[Path], object], turns: list[Any], sessions: list[Any], counted: Counted
) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number, changes in enumerate(turns):
        recorder.session(labels(number)).turn_ended(build_observation(**changes))
    for number, changes in enumerate(sessions, len(turns)):
        recorder.session(labels(number)).session_ended(build_session(**changes))
    recorder.close()
    how(folder)
    finalize(folder)

    found = read(files.histograms_path(folder))
    for (metric, step), expected in counted.items():
        histogram = found.get(HistogramKey(metric, "simulator", step))
        assert histogram is not None
        values = distribution(histogram)[0].tolist()
        assert (histogram.get_total_count() if isinstance(expected, int) else values) == pytest.approx(
            expected, rel=1e-3
        )


def test_histograms_older_than_the_rows_are_updated(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    play(recorder, 1)
    for _ in recorder.histogram_slices():
        pass
    play(recorder, 2)
    finalize(folder)

    found = contents(read(files.histograms_path(folder)))
    ok = [row for row in tables(folder)["turns"] if row["outcome"] == "ok"]
    assert sum(sum(counts.values()) for tag, counts in found.items() if tag.startswith("ttfa|")) == len(ok) == 6
    assert sum(found["connect_total|simulator|all|measurement"].values()) == 3


def test_phases_have_separate_histograms_after_a_kill_and_a_clean_end(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number, phase in enumerate(["warmup", "measurement", None]):
        record = recorder.session(replace(labels(number), phase=phase))
        record.turn_ended(build_observation())
        record.session_ended(build_session())
    recorder.close()
    killed = closed_and_killed(folder)

    of_rows, whole = (contents(read(files.histograms_path(one))) for one in (killed, folder))
    assert of_rows == {tag: whole[tag] for tag in of_rows}
    counted = {tag: sum(counts.values()) for tag, counts in of_rows.items() if tag.startswith(("ttfa|", "connect_t"))}
    assert counted["ttfa|simulator|voice_turns.greeting|warmup"] == counted["connect_total|simulator|all|warmup"] == 1
    assert (
        counted["ttfa|simulator|voice_turns.greeting|measurement"]
        == counted["connect_total|simulator|all|measurement"]
        == 2
    )


def test_labels_beyond_the_32nd_share_a_histogram_after_a_kill_and_a_clean_end(
    tmp_path: Path,
) -> None:
    """Each worker stores the first labels that it records, whether their turns succeeded or failed."""
    folder, recorders = build_run(tmp_path, 2)
    for recorder, numbers in zip(recorders, (range(40), range(39, -1, -1)), strict=True):
        record = recorder.session(labels(1))
        for number in numbers:
            outcome = "failed:x" if number % 5 == 0 else "ok"
            record.turn_ended(build_observation(step=f"step_{number}", outcome=outcome))
        recorder.close()
    killed = closed_and_killed(folder)

    of_rows, whole = (contents(read(files.histograms_path(one))) for one in (killed, folder))
    assert of_rows == {tag: whole[tag] for tag in of_rows}
    assert sum(whole["ttfa|simulator|voice_turns.other|measurement"].values()) == 13


def test_negative_values_are_counted_once_after_a_kill_and_a_clean_end(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    instants = {"request_sent": at(0), "first_audio": at(5), "first_transcript": at(9), "ended": at(10)}
    record = recorder.session(labels(1))
    record.turn_ended(build_observation(instants=instants))
    record.session_ended(build_session())
    recorder.close()
    killed = tmp_path / "killed"
    shutil.copytree(folder, killed)
    kill(killed)

    assert finalize(folder)["totals"]["negative"] == {"transcript_lead": 1}
    assert finalize(killed)["totals"]["negative"] == {"transcript_lead": 1}


def test_a_run_that_was_killed_before_its_first_flush_can_be_closed(tmp_path: Path) -> None:
    folder, _ = build_run(tmp_path)
    document = finalize(folder)

    assert (document["state"], document["validity"]["status"]) == ("killed", "invalid")
    assert document["totals"]["turns"] == {}
    # turns may have begun, and no bound is known
    assert [entry["turns"] for entry in document["missing_workers"]] == [None]
    assert all(rows == [] for rows in tables(folder).values())


def test_open_turns_of_a_killed_run_are_counted_as_missing(tmp_path: Path) -> None:
    """25 turns have started, but only 21 rows were written."""
    folder, (recorder,) = build_run(tmp_path)
    record = recorder.session(labels(0))
    for turn in range(1, 26):
        record.turn_started()
        if turn <= 21:
            record.turn_ended(build_observation(turn=turn, start_ns=turn * 10 * S))
    recorder.end_second()
    recorder.flush()
    document = finalize(folder)

    (entry,) = document["missing_workers"]
    assert entry["turns"] >= 4
    (rule,) = (rule for rule in document["validity"]["checks"] if rule["name"] == "missing_data")
    assert rule["value"] >= 16.0
    assert document["validity"]["status"] == "invalid"


def test_a_run_with_one_killed_worker_is_killed(tmp_path: Path) -> None:
    folder, recorders = build_run(tmp_path, 2)
    for recorder in recorders:
        play(recorder, worker=recorders.index(recorder))
    recorders[0].close()

    assert finalize(folder)["state"] == "killed"
    assert len(tables(folder)["sessions"]) == 6


def test_closing_twice_changes_nothing(finished_and_closed: tuple[Path, Path]) -> None:
    _, folder = finished_and_closed
    document = files.read_document(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert finalize(folder) == document
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("step", ["_to_parquet", "all_histograms", "_add_rates", "replace_text", "_totals"])
def test_a_killed_close_can_be_repeated(
    finished_and_closed: tuple[Path, Path], tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclosed, whole = finished_and_closed
    folder = Path(shutil.copytree(unclosed, tmp_path / "again"))
    with monkeypatch.context() as patch:
        patch.setattr(f"bench.record.finalize.{step}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            finalize(folder)

    assert finalize(folder)["totals"] == files.read_document(whole)["totals"]
    assert tables(folder) == tables(whole)
    assert contents(read(files.histograms_path(folder))) == contents(read(files.histograms_path(whole)))


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_the_final_histograms_are_the_exact_sum_of_the_workers(tmp_path: Path) -> None:
    folder = finished(tmp_path, workers=3)
    parts = [contents(read(path)) for path in sorted((folder / "spool").glob("histograms-*.hlog"))]
    finalize(folder)

    total = contents(read(files.histograms_path(folder)))
    for tag, counts in parts[0].items():
        assert total[tag] == {value: sum(part[tag][value] for part in parts) for value in counts}
    assert len(parts) == 3


def test_rates_are_computed_from_the_rows_of_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5_000_000_000]
    monkeypatch.setattr("bench.record.recorder.monotonic_ns", lambda: now[0])
    monkeypatch.setattr("bench.record.recorder.utc_ns", lambda: now[0])
    folder, (recorder, other) = build_run(tmp_path, 2)
    record = recorder.session(labels(1))
    record.sent(1_000, 700, None)
    other.session(labels(2)).sent(500, 300, None)
    record.session_ended(build_session(wire_bytes_sent=2_000, audio_bytes_sent=4_000))  # 2 s from the upgrade on
    refused = build_session(instants={"connect_start": AT_NS, "ended": at(9)}, outcome="connect_failed:401")
    recorder.session(labels(3)).session_ended(refused)
    now[0] += 800_000_000
    recorder.end_second()
    other.end_second()
    now[0] += 300_000_000  # the rest of the second is too short for a rate
    record.sent(90_000, 0, None)
    recorder.close()
    other.close()
    finalize(folder)

    histograms = read(files.histograms_path(folder))
    run = histograms.get(HistogramKey("wire_sent", "simulator", "run"))
    assert run is not None
    assert run.get_total_count() == 1
    assert run.get_max_value() == pytest.approx(1_500 / 0.8, rel=1e-3)  # both workers, over the 0.8 s recorded
    sessions = histograms.get(HistogramKey("wire_sent", "simulator", "session"))
    assert sessions is not None
    assert (sessions.get_total_count(), sessions.get_max_value()) == (1, pytest.approx(1_000, rel=1e-3))
    audio = histograms.get(HistogramKey("audio_sent", "simulator", "session"))
    assert audio is not None
    assert audio.get_max_value() == pytest.approx(2_000, rel=1e-3)


def test_a_wall_clock_step_does_not_change_the_phase_of_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, step = [BEGAN_NS], [0]
    monkeypatch.setattr("bench.record.recorder.monotonic_ns", lambda: now[0])
    monkeypatch.setattr("bench.record.recorder.utc_ns", lambda: now[0] + step[0])
    folder, (recorder,) = build_run(tmp_path, warm_until_ns=BEGAN_NS + 10 * S)
    files.write_document(folder, files.read_document(folder) | {"warmup_s": 10})
    record = recorder.session(labels(1))
    for second in range(20):
        step[0] = -1_000 * S if second > 14 else 1_000 * S if second > 4 else 0
        record.sent(1_000 if second < 10 else 2_000, 0, None)
        now[0] += S
        recorder.end_second()
    recorder.close()
    finalize(folder)

    rates = {}
    for phase in ("warmup", "measurement"):
        histogram = read(files.histograms_path(folder)).get(HistogramKey("wire_sent", "simulator", "run", phase))
        assert histogram is not None
        rates[phase] = (histogram.get_total_count(), histogram.get_min_value(), histogram.get_max_value())
    assert rates == {"warmup": (10, 1_000, 1_000), "measurement": (10, 2_000, pytest.approx(2_000, rel=1e-3))}


def test_each_file_of_a_simulated_run_is_marked(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    recorder.session(labels(1)).connected({"x-rtbench-simulator": "1"})
    recorder.close()

    assert finalize(folder)["simulated"] is True
    assert "SIMULATED" in files.histograms_path(folder).read_text()
    assert pq.read_schema(folder / "turns.parquet").metadata[b"rtbench.simulated"] == b"SIMULATED"


# The data for the verdict on validity.


@pytest.mark.parametrize(
    ("chunk_ms", "error_ns", "lag_ns", "failed"),
    [
        (100, 0, MS, set()),
        (100, 6 * MS, MS, {"timestamp_uncertainty"}),
        (100, 0, 11 * MS, {"send_delay"}),
        (200, 0, 11 * MS, set()),
        (None, 0, 900 * MS, set()),
    ],
)
def test_the_validity_follows_from_the_recorded_delays(
    tmp_path: Path, chunk_ms: int | None, error_ns: int, lag_ns: int, failed: set[str]
) -> None:
    folder, (recorder,) = build_run(tmp_path, chunk_ms=chunk_ms)
    record = recorder.session(labels(1))
    record.sent(1, 1, lag_ns)
    record.turn_ended(build_observation(uncertainties_ns={"first_audio": error_ns}))
    recorder.close()
    verdict = finalize(folder)["validity"]

    assert {rule["name"] for rule in verdict["checks"] if rule["result"] == "fail"} == failed
    assert verdict["status"] == ("invalid" if failed else "valid")


@pytest.mark.parametrize(("user", "failed"), [(0, set()), (1, {"event_loop_delay"})])
def test_the_event_loop_delay_is_checked_only_with_user_space_timestamps(
    tmp_path: Path, user: int, failed: set[str]
) -> None:
    folder, (recorder,) = build_run(tmp_path)
    recorder.session(labels(1)).turn_ended(build_observation(user_stamps=user))
    recorder.event_loop_delay(90 * MS)
    recorder.close()
    document = finalize(folder)

    assert {rule["name"] for rule in document["validity"]["checks"] if rule["result"] == "fail"} == failed
    assert document["receive_timestamp_source"] == ("mixed" if user else "kernel")


def test_delays_of_a_process_in_the_warmup_are_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [BEGAN_NS]
    monkeypatch.setattr("bench.record.recorder.monotonic_ns", lambda: now[0])
    monkeypatch.setattr("bench.record.recorder.utc_ns", lambda: now[0])
    folder, _ = build_run(tmp_path, 0)
    recorder = Recorder(Spool(folder, 0), BEGAN_NS, warm_until_ns=BEGAN_NS + 60 * S)
    recorder.session(labels(1)).turn_ended(build_observation(user_stamps=1))
    now[0] += 59 * S
    recorder.event_loop_delay(900 * MS)
    now[0] += S
    recorder.event_loop_delay(MS)
    recorder.close()

    rule = finalize(folder)["validity"]["checks"][1]
    assert (rule["name"], rule["result"], rule["value"]) == ("event_loop_delay", "pass", pytest.approx(1.0, rel=0.01))
    found = read(files.histograms_path(folder))
    assert found.get(HistogramKey("event_loop_delay", "all", phase="warmup")).get_max_value() >= 900_000  # type: ignore[union-attr]


def test_uncertainties_in_the_warmup_are_not_checked(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    warm = RowContext("w0-1", "simulator", "s", "s", phase="warmup")
    recorder.session(warm).turn_ended(build_observation(uncertainties_ns={"first_audio": S}))
    recorder.session(labels(2)).turn_ended(build_observation(uncertainties_ns={"first_audio": 0}))
    recorder.close()

    assert finalize(folder)["validity"]["status"] == "valid"


def test_turns_of_the_warmup_are_counted(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    for number, phase in enumerate(["warmup", "warmup", "measurement", None]):
        recorder.session(replace(labels(number), phase=phase)).turn_ended(build_observation())
    recorder.close()

    assert finalize(folder)["totals"]["warmup_turns"] == 2


def test_the_limit_of_a_target_follows_from_its_own_latency(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    late = {"request_sent": at(0), "first_audio": at(2_000), "ended": at(2_500)}
    recorder.session(labels(1, "slow")).turn_ended(
        build_observation(instants=late, uncertainties_ns={"first_audio": 19 * MS})
    )
    recorder.session(labels(2, "fast")).turn_ended(
        build_observation(uncertainties_ns={"first_audio": 6 * MS}, widths_ns={"request_sent": 0})
    )
    recorder.close()

    verdict = finalize(folder)["validity"]
    assert verdict["status"] == "invalid"
    assert verdict["checks"][0]["note"].endswith("of fast")
    assert (verdict["checks"][0]["value"], verdict["checks"][0]["limit"]) == (6.0, 5.0)


# Incidents.


@pytest.mark.parametrize("how", [leave, kill])
def test_the_incidents_of_all_workers_are_in_the_document_in_their_order(
    finished_and_closed: tuple[Path, Path], tmp_path: Path, how: Callable[[Path], object]
) -> None:
    folder, (first, second) = build_run(tmp_path, 2)
    second.incident("auth_refresh", "one")
    first.incident("auth_refresh", "two")
    second.incident("auth_refresh", "three")
    for recorder in (first, second):
        recorder.close()
    how(folder)
    document = finalize(folder)

    assert [(incident["worker"], incident["text"]) for incident in document["incidents"]] == [
        (1, "one"),
        (0, "two"),
        (1, "three"),
    ]
    assert document["totals"]["incident_counts"] == {"auth_refresh": 3}
    assert files.read_document(finished_and_closed[1])["incidents"] == []


# The processes that may finalize a run.


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        finalize(tmp_path)


@pytest.mark.parametrize(
    ("document", "gone"),
    [
        ({"state": "ended"}, True),
        ({"state": "killed"}, True),
        ({"state": "running", "writer": {"host": "elsewhere", "pid": 1}}, False),
        ({"state": "running", "writer": {"host": socket.gethostname(), "pid": "?"}}, True),
        ({"state": "running", "writer": {"host": socket.gethostname()}}, True),
    ],
)
def test_the_writer_of_a_run_is_gone_if_its_process_is_gone(
    document: dict[str, Any], gone: bool, tmp_path: Path
) -> None:
    assert writer_is_gone(tmp_path, document) is gone


def test_a_writer_that_holds_the_lock_of_its_folder_is_not_gone(tmp_path: Path) -> None:
    writer = {"host": socket.gethostname(), "pid": os.getpid()}
    presence.hold(tmp_path)

    assert not writer_is_gone(tmp_path, {"state": "running", "writer": writer})


def test_a_writer_is_gone_if_another_process_has_its_process_id(tmp_path: Path) -> None:
    """In a container the process ID is often 1, so the writer in an earlier container had the same process ID."""
    folder, _ = build_run(tmp_path)  # its worker has the number of this process
    writer = {"host": socket.gethostname(), "pid": os.getpid()}

    assert writer_is_gone(folder, {"state": "running", "writer": writer})


def test_without_file_locks_the_process_id_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "is_held", lambda _: None)
    writer = {"host": socket.gethostname(), "pid": os.getpid()}

    assert not writer_is_gone(tmp_path, {"state": "running", "writer": writer})


def test_only_a_process_with_the_permission_of_the_writer_may_close_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent process is no permission: process 1 of a container is the parent of each orphan."""
    document = {"state": "closing", "writer": {"host": socket.gethostname(), "pid": os.getppid()}}
    presence.hold(tmp_path)

    assert not presence.may_close(tmp_path)
    monkeypatch.setenv(*presence.permission_to_close(tmp_path / "another run").popitem())
    assert not presence.may_close(tmp_path)
    monkeypatch.setenv(*presence.permission_to_close(tmp_path).popitem())
    assert presence.may_close(tmp_path)
    assert not writer_is_gone(tmp_path, document)


def test_the_process_id_of_a_worker_on_another_host_is_not_looked_up_here(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    facts = path_of(folder, 0, FACTS)
    document = {"state": "running", "writer": {"host": socket.gethostname(), "pid": 0}}
    recorded = json.loads(facts.read_text()) | {"done": False, "pid": os.getpid()}
    facts.write_text(json.dumps(recorded))
    assert not writer_is_gone(folder, document)
    facts.write_text(json.dumps(recorded | {"hosts": [entry | {"name": "elsewhere"} for entry in recorded["hosts"]]}))

    assert writer_is_gone(folder, document)


def test_a_close_interrupted_while_removing_the_spool_loses_no_rows(
    finished_and_closed: tuple[Path, Path], tmp_path: Path
) -> None:
    unclosed, closed = finished_and_closed
    folder = Path(shutil.copytree(closed, tmp_path / "cut"))
    document = files.read_document(folder)
    shutil.copytree(unclosed / "spool", folder / "spool")
    for path in (folder / "spool").glob("turns-*"):
        path.unlink()

    assert finalize(folder) == document
    assert tables(folder)["turns"]
    assert not (folder / "spool").exists()


def test_a_run_that_its_master_did_not_close_is_killed(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    files.write_document(folder, files.read_document(folder) | {"state": "running"})

    document = finalize(folder)

    assert document["state"] == "killed"
    assert "killed" in document["stop_reason"]
