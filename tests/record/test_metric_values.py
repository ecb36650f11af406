"""Metrics. A metric has one definition, which is evaluated for one turn or session, and also for
whole tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.columns import SESSION_INSTANTS, TURN_INSTANTS
from bench.catalogue.metrics import CATALOGUE
from bench.record.folder import SCHEMAS, TableName
from bench.record.rows import session_row
from reports.data.runs import session_frame, turn_frame
from tests.helpers import AT_NS, build_observation, build_session, row_of

LATER_NS = st.integers(0, 10**12)
VALUES = {
    "turn": st.integers(1, 2),
    "rtt_scope": st.sampled_from(["proxy", "service"]),
    "cut_off": st.booleans(),
}


def metrics_in_row(frame: pd.DataFrame, place: int) -> dict[str, float]:
    """Return the metrics, in ms, of the row number `place` of a frame."""
    values = {
        name: frame[f"{name}_ms"].iloc[place] for name in CATALOGUE if f"{name}_ms" in frame.columns
    }
    return {name: float(value) for name, value in values.items() if value == value}


def frame_of(table: TableName, rows: list[dict[str, Any]]) -> pd.DataFrame:
    read = turn_frame if table == "turns" else session_frame
    return read(pa.Table.from_pylist(rows, schema=SCHEMAS[table]))


def in_ms(metrics_ns: Mapping[str, int]) -> dict[str, float]:
    return {name: value / 1e6 for name, value in metrics_ns.items()}


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(SESSION_INSTANTS), LATER_NS), st.integers(0, 10**9)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_session_and_its_row_have_the_same_metrics(
    drawn: list[tuple[dict[str, int], int]],
) -> None:
    """Each phase of the connection may be missing in a session."""
    sessions = [
        build_session(
            instants={name: AT_NS + ns for name, ns in instants.items()}, auth_wait_ns=wait_ns
        )
        for instants, wait_ns in drawn
    ]
    frame = frame_of("sessions", [session_row(session, 0) for session in sessions])

    for place, session in enumerate(sessions):
        assert metrics_in_row(frame, place) == in_ms(session.metrics_ns())


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(TURN_INSTANTS), LATER_NS),
            st.none() | st.integers(0, 10**9),
            st.none() | st.integers(0, 10**9),
            st.sampled_from([None, "service", "proxy"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_turn_and_its_row_have_the_same_metrics(
    drawn: list[tuple[dict[str, int], int | None, int | None, str | None]],
) -> None:
    turns = [
        build_observation(
            instants={name: AT_NS + ns for name, ns in instants.items()},
            stall_duration_ns=stall_duration_ns,
            network_rtt_ns=rtt_ns,
            rtt_scope=scope,
        )
        for instants, stall_duration_ns, rtt_ns, scope in drawn
    ]
    frame = frame_of("turns", [row_of(turn) for turn in turns])

    for place, turn in enumerate(turns):
        assert metrics_in_row(frame, place) == in_ms(turn.metrics_ns())
