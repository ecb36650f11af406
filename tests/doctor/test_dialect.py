"""A service that speaks the other dialect is known by what it says of parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.doctor.diagnosis import OWN_PARAMETERS, REMEDIES, Refusal, dialect_remedy, explain, shape_of
from bench.doctor.service_findings import in_other_dialect
from bench.protocol.base import Dialect
from bench.protocol.dialects import DIALECTS
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.simulator.server_events import OPENAI_GA
from bench.simulator.session.checks import EventPath, missing
from bench.simulator.session.service_forms import form_of, ga_session, preview_session
from bench.simulator.session.session_schema import PREVIEW_RESPONSE, PREVIEW_SESSION
from tests.doctor.targets import build_target
from tests.helpers import OTHER

UNKNOWN = "failed:unknown_parameter"


@pytest.mark.parametrize(
    ("spoken", "outcome", "words", "speaks"),
    [
        (PREVIEW, "failed:missing_required_parameter", str(missing(EventPath("session.type"))), GA),
        (PREVIEW, UNKNOWN, "Unknown parameter: 'session.modalities'.", GA),
        (PREVIEW, UNKNOWN, "unknown_parameter: Unknown parameter: 'response.modalities'.", GA),
        (GA, UNKNOWN, "Unknown parameter: 'session.type'.", PREVIEW),
        (GA, UNKNOWN, "Unknown parameter: 'session.audio.input'.", PREVIEW),
        (GA, UNKNOWN, "Unknown parameter: 'response.output_modalities'.", PREVIEW),
        (GA, "protocol_error:dialect", "response.audio.delta", PREVIEW),
        (PREVIEW, "protocol_error:dialect", "response.output_audio.delta", GA),
    ],
)
def test_the_dialect_that_the_service_speaks_is_named_with_where_the_other_came_from(
    spoken: Dialect, outcome: str, words: str, speaks: Dialect
) -> None:
    target = replace(build_target(), dialect=spoken)

    said = dialect_remedy(outcome, words, spoken)

    assert said == REMEDIES[speaks] == explain(Refusal(outcome, words), target)
    assert f"use --dialect {speaks.name}" in said
    assert "OPENAI_API_VERSION" in said
    assert "the path" in said or "paths" in said


@pytest.mark.parametrize(
    ("spoken", "outcome", "words"),
    [
        (GA, "failed:missing_required_parameter", "Missing required parameter: 'session.type'."),
        (PREVIEW, "failed:missing_required_parameter", "Missing required parameter: 'item.type'."),
        (GA, UNKNOWN, "Unknown parameter: 'session.speed'."),
        (GA, UNKNOWN, "Unknown parameter: 'session.audio_type'."),
        (PREVIEW, UNKNOWN, "Unknown parameter: 'session.type'."),
        (GA, UNKNOWN, "no words"),
        (GA, "failed:invalid_value", "Invalid value: 'x' at 'session.type'."),
        (GA, "pass", ""),
    ],
)
def test_other_mistakes_are_not_taken_for_it(spoken: Dialect, outcome: str, words: str) -> None:
    assert dialect_remedy(outcome, words, spoken) == ""


def test_what_tells_one_dialect_is_unknown_to_the_other() -> None:
    ga = form_of(OPENAI_GA)
    tables: dict[Dialect, dict[str, Any]] = {
        GA: {**ga.table, **(ga.response or {})},
        PREVIEW: {**PREVIEW_SESSION, **PREVIEW_RESPONSE},
    }

    assert set(OWN_PARAMETERS[GA]) <= tables[GA].keys() - tables[PREVIEW].keys()
    assert set(OWN_PARAMETERS[PREVIEW]) <= tables[PREVIEW].keys() - tables[GA].keys()


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(list(DIALECTS.values())))
def test_nothing_that_a_service_says_upsets_it(outcome: str, words: str, spoken: Dialect) -> None:
    assert dialect_remedy(outcome, words, spoken) in ("", *REMEDIES.values())


# A session that opens in the other dialect's shape gives it away before anything else does.


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
    assert found.message.startswith(f"session.created has the form of the {OTHER[spoken].name} dialect")
    assert list(in_other_dialect(GREETINGS[spoken], spoken)) == []


@given(st.dictionaries(st.sampled_from(["audio", "modalities", "output_modalities"]), st.none() | st.integers()))
def test_no_greeting_upsets_it(session: dict[str, Any]) -> None:
    assert shape_of(session) in (None, *DIALECTS.values())
