"""What the responses of a process cost so far."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.playing.progress import Spending, over_budget, unknown_price
from bench.money import Prices, Terms
from bench.protocol.events import UNREAD, Usage

REALTIME = Prices(
    text_input=4, text_cached_input=0.4, text_output=16, audio_input=32, audio_cached_input=0.4, audio_output=64
)
FLAT = Prices(1, 1, 1, 1, 1, 1)
BY_MINUTE = Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.05)
BOTH = replace(FLAT, usd_per_minute=0.02)
MINUTE_NS = 60 * 10**9
SPOKEN = Usage(text_in=100, audio_in=1000, cached_in=500, cached_audio_in=500, text_out=100, audio_out=1000)
SPOKEN_USD = (400 + 500 * 32 + 500 * 0.4 + 1600 + 64_000) / 1e6
TABLE = {"gpt-realtime": REALTIME}


SPENT: dict[str, tuple[dict[str, Prices], dict[str, Terms], str | None, list[Usage], float]] = {
    # (the table of prices, terms of targets, the model that answered, what its turns used, what that cost)
    "a turn costs by the model that answered":
        (TABLE, {"sweden": Terms()}, "gpt-realtime-2025-08-28", [SPOKEN], SPOKEN_USD),
    "a target with prices needs no model": ({}, {"sweden": Terms(own=FLAT)}, None, [SPOKEN], 2200 / 1e6),
    "where only time costs anything no token is missed": ({"live": BY_MINUTE}, {}, "live", [SPOKEN, UNREAD], 0.0),
}  # fmt: skip


@pytest.mark.parametrize(("table", "terms", "model", "usages", "usd"), SPENT.values(), ids=SPENT)
def test_turns_cost_by_their_prices(
    table: dict[str, Prices], terms: dict[str, Terms], model: str | None, usages: list[Usage], usd: float
) -> None:
    spending = Spending(table, terms)
    for usage in usages:
        spending.add("sweden", model, usage)

    assert (spending.unpriced, spending.usd_at(0)) == (0, pytest.approx(usd))


def test_a_turn_without_a_price_is_counted_and_its_model_named() -> None:
    spending = Spending(TABLE, {})
    for model in ("gpt-realtime-3", "gpt-realtime-3", None):
        spending.add("sweden", model, SPOKEN)

    assert (spending.unpriced, spending.usd_at(0)) == (3, 0.0)
    assert spending.unknown_models == {"gpt-realtime-3", ""}


@given(st.lists(st.builds(Usage, audio_in=st.integers(0, 10_000), audio_out=st.integers(0, 10_000)), max_size=20))
def test_turns_add_up(usages: list[Usage]) -> None:
    spending = Spending(TABLE, {})
    for usage in usages:
        spending.add("sweden", "gpt-realtime", usage)

    assert spending.usd_at(0) == pytest.approx(sum(32 * u.audio_in + 64 * u.audio_out for u in usages) / 1e6)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.sampled_from(["live", "both"]))))
def test_minutes_cost_as_they_pass_and_no_more_once_their_session_has_ended(
    sessions: list[tuple[int, int, str]],
) -> None:
    """Some sessions have ended by the instant of asking, some have not; `both` are paid by tokens, too."""
    spending = Spending({"live": BY_MINUTE, "both": BOTH}, {})
    now_ns, minutes = 10**12, {"live": 0.0, "both": 0.0}
    for opened_ns, length_ns, model in sessions:
        spending.open("sweden", model, opened_ns)
        if opened_ns + length_ns <= now_ns:
            spending.close("sweden", model, opened_ns, opened_ns + length_ns)
        minutes[model] += min(length_ns, now_ns - opened_ns) / MINUTE_NS

    assert spending.usd_at(now_ns) == pytest.approx(0.05 * minutes["live"] + 0.02 * minutes["both"], abs=1e-9)
    spending.add("sweden", "both", SPOKEN)
    assert spending.usd_at(now_ns) >= 2200 / 1e6


@pytest.mark.parametrize(
    ("budget_usd", "usd", "said"),
    [
        (5.0, 4.99, ""),
        (5.0, 5.0, "the budget of 5.00 USD is spent: 5.00 USD"),
        (5.0, 5.02, "the budget of 5.00 USD is spent: 5.02 USD"),
        (None, 1e9, ""),
    ],
)
def test_a_budget_is_spent_once_it_is_reached(budget_usd: float | None, usd: float, said: str) -> None:
    assert over_budget(budget_usd, usd) == said


def after(*models: str | None) -> Spending:
    """What a turn of each of these models without a price came to."""
    spending = Spending(TABLE, {})
    for model in models:
        spending.add("sweden", model, SPOKEN)
    return spending


def test_an_unknown_price_names_the_model_and_the_remedy() -> None:
    line = unknown_price(after("gpt-realtime-3", "gpt-next", None))

    assert line.startswith("--budget cannot be enforced, because no price of gpt-next, gpt-realtime-3 is known: ")
    assert "--prices FILE" in line
    assert "targets.yaml" in line


def test_an_unknown_price_without_a_model_says_so() -> None:
    assert "because the service names no model" in unknown_price(after(None))


def test_tokens_that_cannot_be_read_make_a_budget_blind_whatever_the_prices_are() -> None:
    spending = Spending(TABLE, {"sweden": Terms("gpt-realtime")})
    spending.add("sweden", None, UNREAD)

    assert spending.unpriced == 1
    assert unknown_price(spending) == (
        "--budget cannot be enforced, because the service's token counts cannot be read: leave --budget out"
    )
