"""Metrics. A metric has one definition, which is evaluated for one turn or session, and also for
whole tables.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.columns import SESSION_INSTANTS, TURN_INSTANTS
from bench.catalogue.metrics import CATALOGUE
from bench.record.folder import SCHEMAS, TableName
from bench.record.rows import session_row
from reports.data.runs import session_frame, turn_frame
from tests.helpers import AT_NS, build_observation, build_session, row_of

INSTANT_NS = st.integers(AT_NS, AT_NS + 10**12)
DURATION_NS = st.integers(0, 10**9)


def metrics_in_row(frame: pd.DataFrame, place: int) -> dict[str, float]:
    """Return the metrics, in ms, of the row number `place` of a frame."""
    values = {
        name: frame[f"{name}_ms"].iloc[place] for name in CATALOGUE if f"{name}_ms" in frame.columns
    }
    return {name: float(value) for name, value in values.items() if value == value}


@pytest.mark.parametrize(
    ("table", "frame_of", "row", "observed"),
    [
        (
            "sessions",
            session_frame,
            partial(session_row, utc_offset_ns=0),
            st.builds(
                build_session,
                instants=st.dictionaries(st.sampled_from(SESSION_INSTANTS), INSTANT_NS),
                auth_wait_ns=DURATION_NS,
            ),
        ),
        (
            "turns",
            turn_frame,
            row_of,
            st.builds(
                build_observation,
                instants=st.dictionaries(st.sampled_from(TURN_INSTANTS), INSTANT_NS),
                stall_duration_ns=st.none() | DURATION_NS,
                network_rtt_ns=st.none() | DURATION_NS,
                rtt_scope=st.sampled_from([None, "service", "proxy"]),
            ),
        ),
    ],
    ids=["sessions", "turns"],
)
@given(data=st.data())
def test_a_session_or_turn_and_its_row_have_the_same_metrics(
    table: TableName,
    frame_of: Callable[[pa.Table], pd.DataFrame],
    row: Callable[[Any], dict[str, Any]],
    observed: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    """Each phase of the connection may be missing in a session."""
    drawn = data.draw(st.lists(observed, min_size=1, max_size=5))
    frame = frame_of(pa.Table.from_pylist(list(map(row, drawn)), schema=SCHEMAS[table]))

    for place, each in enumerate(drawn):
        metrics_ns = each.metrics_ns()
        assert metrics_in_row(frame, place) == {
            name: value / 1e6 for name, value in metrics_ns.items()
        }
