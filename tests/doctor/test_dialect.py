"""The doctor detects that a service speaks another dialect from the service's errors about
parameters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.causes import in_words
from bench.doctor.diagnosis import Refusal, explain
from bench.doctor.service_findings import in_other_dialect
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.registry import (
    DIALECT_REMEDIES,
    DIALECTS,
    OWN_PARAMETERS,
    dialect_remedy,
    shape_of,
)
from bench.wire.dialect import Dialect
from rtbench_simulator.services.openai import OPENAI_GA, ga_form, ga_session, preview_session
from rtbench_simulator.session.checks import EventValue
from rtbench_simulator.session.effective import NewSession
from rtbench_simulator.session.session_schema import PREVIEW_RESPONSE, PREVIEW_SESSION
from tests.doctor.targets import build_target
from tests.helpers import OTHER

UNKNOWN = "failed:unknown_parameter"


@pytest.mark.parametrize(
    ("spoken", "outcome", "words", "speaks"),
    [
        (
            PREVIEW,
            "failed:missing_required_parameter",
            str(EventValue("session", {}).missing("type")),
            GA,
        ),
        (PREVIEW, UNKNOWN, "Unknown parameter: 'session.modalities'.", GA),
        (PREVIEW, UNKNOWN, "unknown_parameter: Unknown parameter: 'response.modalities'.", GA),
        (GA, UNKNOWN, "Unknown parameter: 'session.type'.", PREVIEW),
        (GA, UNKNOWN, "Unknown parameter: 'session.audio.input'.", PREVIEW),
        (GA, UNKNOWN, "Unknown parameter: 'response.output_modalities'.", PREVIEW),
        (GA, "protocol_error:dialect", "response.audio.delta", PREVIEW),
        (PREVIEW, "protocol_error:dialect", "response.output_audio.delta", GA),
    ],
)
def test_the_remedy_names_the_service_s_dialect_and_the_source_of_the_wrong_one(
    spoken: Dialect, outcome: str, words: str, speaks: Dialect
) -> None:
    target = replace(build_target(), dialect=spoken)

    remedy = dialect_remedy(outcome, words, spoken)

    assert (
        remedy == DIALECT_REMEDIES[speaks] == explain(Refusal(outcome, [in_words(words)]), target)
    )
    assert f"use --dialect {speaks.name}" in remedy
    assert "OPENAI_API_VERSION" in remedy
    assert "the path" in remedy or "paths" in remedy


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
def test_other_errors_have_no_dialect_remedy(spoken: Dialect, outcome: str, words: str) -> None:
    assert dialect_remedy(outcome, words, spoken) == ""


def test_the_parameters_that_identify_a_dialect_are_unknown_to_the_other() -> None:
    ga = ga_form(OPENAI_GA)
    tables: dict[Dialect, dict[str, Any]] = {
        GA: {**ga.table, **(ga.response or {})},
        PREVIEW: {**PREVIEW_SESSION, **PREVIEW_RESPONSE},
    }

    assert set(OWN_PARAMETERS[GA]) <= tables[GA].keys() - tables[PREVIEW].keys()
    assert set(OWN_PARAMETERS[PREVIEW]) <= tables[PREVIEW].keys() - tables[GA].keys()


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(list(DIALECTS.values())))
def test_any_error_text_has_no_remedy_or_a_known_one(
    outcome: str, words: str, spoken: Dialect
) -> None:
    assert dialect_remedy(outcome, words, spoken) in ("", *DIALECT_REMEDIES.values())


# The shape of the first event of a session reveals the dialect before anything else does.


GREETINGS: dict[Dialect, dict[str, Any]] = {
    GA: ga_session(NewSession("s", "m", 0)),
    PREVIEW: preview_session(NewSession("s", "m", 0)),
}
NAMES = [dialect.name for dialect in GREETINGS]


@pytest.mark.parametrize(
    "session", [{}, {"id": "s", "model": "m"}, GREETINGS[GA] | GREETINGS[PREVIEW]]
)
def test_a_session_with_neither_or_both_shapes_has_no_dialect(session: dict[str, Any]) -> None:
    assert shape_of(session) is None


@pytest.mark.parametrize("spoken", GREETINGS, ids=NAMES)
@pytest.mark.parametrize(
    "outcome",
    [
        "timeout:session",
        "failed:invalid_value",
        "failed:no_audio",
        "timeout:end_of_turn",
        "closed:1000",
    ],
)
def test_a_greeting_in_the_other_dialect_explains_later_failures(
    spoken: Dialect, outcome: str
) -> None:
    target = replace(build_target(), dialect=spoken)
    other, own = (
        explain(Refusal(outcome, [in_words("")], greeting=GREETINGS[d]), target)
        for d in (OTHER[spoken], spoken)
    )

    assert other == DIALECT_REMEDIES[OTHER[spoken]]
    assert own not in DIALECT_REMEDIES.values()


@pytest.mark.parametrize("outcome", ["throttled:response", "session_expired", "ok", "unfinished"])
def test_a_greeting_does_not_explain_failures_with_another_cause(outcome: str) -> None:
    assert dialect_remedy(outcome, "", PREVIEW, GREETINGS[GA]) == ""


@pytest.mark.parametrize("spoken", GREETINGS, ids=NAMES)
def test_an_open_session_in_the_other_dialect_is_a_warning(spoken: Dialect) -> None:
    (found,) = in_other_dialect(GREETINGS[OTHER[spoken]], spoken)

    assert (found.name, found.result, found.remedy) == (
        "dialect",
        "warning",
        DIALECT_REMEDIES[OTHER[spoken]],
    )
    assert found.message.startswith(
        f"session.created has the form of the {OTHER[spoken].name} dialect"
    )
    assert list(in_other_dialect(GREETINGS[spoken], spoken)) == []


@given(
    st.dictionaries(
        st.sampled_from(["audio", "modalities", "output_modalities"]), st.none() | st.integers()
    )
)
def test_any_greeting_has_no_dialect_or_a_known_one(session: dict[str, Any]) -> None:
    assert shape_of(session) in (None, *DIALECTS.values())
