"""When services switch models off, and that everybody knows the same models."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.money import undated
from bench.remedies import REALTIME_MODELS
from bench.retirements import RETIREMENTS, Retirement, retirement_of
from bench.target.target_settings import load_price_table

DAYS = st.dates(date(2024, 1, 1), date(2030, 1, 1))


def test_the_price_list_and_the_doctor_know_the_same_models_of_the_realtime_api() -> None:
    priced = {undated(model) for model in load_price_table(None).models}

    assert {model for model in priced if not model.startswith("gpt-live")} == set(REALTIME_MODELS)


def test_every_realtime_model_that_is_switched_off_has_a_price() -> None:
    retired = {undated(model) for models in RETIREMENTS.values() for model in models if "realtime" in model}

    assert retired <= set(REALTIME_MODELS)


@pytest.mark.parametrize(
    ("service", "model", "day"),
    [
        ("openai", "gpt-realtime-2025-08-28", "2027-01-20"),
        ("azure", "gpt-realtime-2025-08-28", "2027-02-28"),
        ("azure", "gpt-realtime-mini-2025-10-06", "2026-07-23"),
        ("azure", "gpt-realtime-mini-2025-12-15", "2026-12-15"),
        ("openai", "whisper-1", "2027-02-26"),
    ],
)
def test_a_version_goes_with_its_model_unless_it_has_a_day_of_its_own(service: str, model: str, day: str) -> None:
    retirement = retirement_of(service, model)

    assert retirement is not None
    assert retirement.day.isoformat() == day


@pytest.mark.parametrize(
    ("service", "model"), [("openai", "gpt-realtime-2.1"), ("other", "gpt-realtime"), ("azure", ""), ("azure", "mine")]
)
def test_a_model_without_a_known_day_has_none(service: str, model: str) -> None:
    assert retirement_of(service, model) is None


@given(DAYS, DAYS)
def test_the_words_say_on_which_side_of_the_day_we_are(day: date, today: date) -> None:
    words = Retirement("m", day, "a page").words(today)

    assert words.startswith("was to be" if today > day else "is switched off")
    assert day.isoformat() in words
    assert words.endswith("(a page)")


def test_the_day_itself_and_the_day_before_have_words_of_their_own() -> None:
    retirement = Retirement("m", date(2027, 1, 20), "a page")

    assert "2027-01-20, today (" in retirement.words(retirement.day)
    assert "2027-01-20, in 1 day (" in retirement.words(retirement.day - timedelta(days=1))
