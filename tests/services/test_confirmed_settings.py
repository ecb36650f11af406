"""Any report of a service is compared with the requested settings."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.services.confirmed_settings import unapplied_settings
from bench.wire.settings import comparable

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["auto", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["audio", "input", "turn_detection", "type", "model", "modalities", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
)
SETTINGS = JSON.filter(lambda value: isinstance(value, dict))


@given(SETTINGS, SETTINGS)
def test_any_report_is_compared_and_the_requested_settings_themselves_are_no_difference(
    requested: Any, reported: Any
) -> None:
    assert all(
        all(isinstance(text, str) for text in one)
        for one in unapplied_settings(requested, reported)
    )
    assert [*unapplied_settings(requested, reported | comparable(requested))] == []
