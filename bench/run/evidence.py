"""What the rules of validity look at, from a run's rows and histograms."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.measures import GOOD, ORIGINS
from bench.run import folder as files
from bench.run.histograms import Histograms, worst_p99_ms
from bench.run.measured import first_ns
from bench.run.validity import Evidence, FirstDeltas

NS_PER_MS = 1e6
COLUMNS = [
    *("target", "outcome", "phase", "requested_at_ns", "speech_end_at_ns", "first_audio_at_ns", "first_text_at_ns"),
    *("stamp_error_ns", "stamp_source", "audio_bytes_sent"),
]


def evidence(folder: Path, histograms: Histograms, document: dict[str, Any]) -> Evidence:
    """What the rules of validity look at, from the measured phase."""
    turns = files.read_table(folder, "turns", COLUMNS)
    measured = pc.fill_null(pc.equal(turns["phase"], "measure"), True)
    stamped = turns["stamp_source"].filter(measured).drop_null()
    chunks = [script["chunk_ms"] for script in document.get("scripts") or [] if script.get("chunk_ms")]
    return Evidence(
        first_deltas=tuple(_first_deltas(turns, measured)),
        user_stamps_share=pc.mean(pc.not_equal(stamped, "kernel").cast(pa.float64())).as_py() if len(stamped) else None,
        hub_delay_p99=worst_p99_ms(histograms, "hub_delay"),
        send_lag_p99=worst_p99_ms(histograms, "send_lag"),
        chunk=min(chunks) if chunks else None,
        paced_audio=bool(chunks) and (pc.sum(turns["audio_bytes_sent"].filter(measured)).as_py() or 0) > 0,
    )


def _first_deltas(turns: pa.Table, measured: pa.ChunkedArray) -> Iterable[FirstDeltas]:
    """Of each target: stamp errors of every turn, times to the first delta of good ones."""
    good = pc.is_in(turns["outcome"], pa.array(sorted(GOOD)))
    waits = pc.subtract(pc.coalesce(turns["first_audio_at_ns"], turns["first_text_at_ns"]), first_ns(turns, ORIGINS))
    for target in sorted(pc.unique(turns["target"].filter(measured)).to_pylist()):
        mine = pc.and_(measured, pc.equal(turns["target"], target))
        errors, delays = turns["stamp_error_ns"].filter(mine), waits.filter(pc.and_(mine, good))
        yield FirstDeltas(target, _quantile_ms(errors, 0.99), _quantile_ms(delays, 0.5))


def _quantile_ms(column: pa.ChunkedArray, p: float) -> float | None:
    values: npt.NDArray[np.int64] = column.drop_null().to_numpy()
    return float(np.quantile(values, p, method="inverted_cdf")) / NS_PER_MS if values.size else None
