"""A session that opens in the other dialect's shape gives it away before anything else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.doctor.explain import REMEDIES, Refusal, dialect_remedy, explain, shape_of
from bench.doctor.service_findings import in_other_dialect
from bench.protocol.base import Dialect
from bench.protocol.dialects import DIALECTS
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.simulator.session.service_forms import ga_session, preview_session
from tests.doctor.targets import build_target
from tests.helpers import OTHER

GREETINGS: dict[Dialect, dict[str, Any]] = {GA: ga_session("s", "m", 0), PREVIEW: preview_session("s", "m", 0)}
NAMES = [dialect.name for dialect in GREETINGS]


@pytest.mark.parametrize("session", [{}, {"id": "s", "model": "m"}, GREETINGS[GA] | GREETINGS[PREVIEW]])
def test_a_session_with_neither_shape_or_both_has_none(session: dict[str, Any]) -> None:
    assert shape_of(session) is None


@pytest.mark.parametrize("spoken", GREETINGS, ids=NAMES)
@pytest.mark.parametrize(
    "outcome", ["timeout:session", "failed:invalid_value", "failed:no_audio", "timeout:end_of_turn", "closed:1000"]
)
def test_a_greeting_in_the_other_shape_explains_whatever_fails_after_it(spoken: Dialect, outcome: str) -> None:
    target = replace(build_target(), dialect=spoken)
    other, own = (explain(Refusal(outcome, "", greeting=GREETINGS[d]), target) for d in (OTHER[spoken], spoken))

    assert other == REMEDIES[OTHER[spoken]]
    assert own not in REMEDIES.values()


@pytest.mark.parametrize("outcome", ["throttled:response", "session_expired", "ok", "unfinished"])
def test_a_greeting_explains_nothing_that_has_another_cause(outcome: str) -> None:
    assert dialect_remedy(outcome, "", PREVIEW, GREETINGS[GA]) == ""


@pytest.mark.parametrize("spoken", GREETINGS, ids=NAMES)
def test_a_session_that_opens_all_the_same_is_warned_of(spoken: Dialect) -> None:
    (found,) = in_other_dialect(GREETINGS[OTHER[spoken]], spoken)

    assert (found.name, found.result, found.remedy) == ("dialect", "warning", REMEDIES[OTHER[spoken]])
    assert found.message.startswith(f"session.created has the shape of the {OTHER[spoken].name} dialect")
    assert list(in_other_dialect(GREETINGS[spoken], spoken)) == []


@given(st.dictionaries(st.sampled_from(["audio", "modalities", "output_modalities"]), st.none() | st.integers()))
def test_no_greeting_upsets_it(session: dict[str, Any]) -> None:
    assert shape_of(session) in (None, *DIALECTS.values())
