"""The cost of tokens for single values and for columns, the prices that apply to a model, and
the format of amounts.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.catalogue.pricing import (
    BilledModel,
    Billing,
    Prices,
    PricingTerms,
    TurnPricing,
    cost_usd,
    dollars,
    prices_of,
    tariff_of,
    token_model,
)
from bench.doctor.service_findings import check_reply
from bench.load.execution.progress import CostMeter
from bench.wire.events import TokenUsage
from reports.analysis.summary.cost import UNNAMED, money_of
from reports.data.runs import RunFrames
from tests.doctor.targets import build_target
from tests.helpers import build_observation
from tests.reports import synthetic
from tests.reports.synthetic import Plan

REALTIME = Prices(
    text_input=4,
    text_cached_input=0.4,
    text_output=16,
    audio_input=32,
    audio_cached_input=0.4,
    audio_output=64,
    image_input=5,
    image_cached_input=0.5,
)
MINI = Prices(
    text_input=0.6,
    text_cached_input=0.06,
    text_output=2.4,
    audio_input=10,
    audio_cached_input=0.3,
    audio_output=20,
)
READ, WRITTEN = ("text_in", "audio_in", "image_in"), ("text_out", "audio_out")
KINDS = (*READ, *(f"cached_{kind}" for kind in READ), "cache_write_in", *WRITTEN)


@st.composite
def usages(draw: st.DrawFn) -> dict[str, int]:
    """Draw token counts as a service reports them. The input tokens include the cached tokens."""
    counts = {kind: draw(st.integers(0, 100_000)) for kind in (*READ, *WRITTEN)}
    cached = {f"cached_{kind}": draw(st.integers(0, counts[kind])) for kind in READ}
    return (
        counts
        | cached
        | {"cache_write_in": draw(st.integers(0, counts["text_in"] - cached["cached_text_in"]))}
    )


def tokens(**counts: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | counts


def added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {kind: one[kind] + other[kind] for kind in KINDS}


# The total.


@pytest.mark.parametrize(
    ("kind", "price"),
    [
        ("text_in", 4.0),
        ("audio_in", 32.0),
        ("text_out", 16.0),
        ("audio_out", 64.0),
        ("image_in", 5.0),
    ],
)
def test_a_million_tokens_of_a_kind_cost_the_price_of_that_kind(kind: str, price: float) -> None:
    assert cost_usd(REALTIME, tokens(**{kind: 1_000_000})) == price


def test_cached_tokens_are_a_part_of_the_input_and_cost_less() -> None:
    half = tokens(
        audio_in=1_000_000, cached_audio_in=500_000, text_in=1_000_000, cached_text_in=1_000_000
    )

    assert cost_usd(REALTIME, half) == pytest.approx(16 + 0.2 + 0.4)
    assert cost_usd(REALTIME, tokens(image_in=1_000_000, cached_image_in=500_000)) == pytest.approx(
        2.5 + 0.25
    )


@given(usages(), usages())
def test_the_cost_of_two_turns_is_the_sum_of_their_costs(
    one: dict[str, int], other: dict[str, int]
) -> None:
    together = cost_usd(REALTIME, added(one, other))

    assert together == pytest.approx(cost_usd(REALTIME, one) + cost_usd(REALTIME, other), rel=1e-12)


@given(usages(), st.sampled_from([*READ, *WRITTEN]), st.integers(1, 1000))
def test_more_tokens_cost_more(usage: dict[str, int], kind: str, more: int) -> None:
    assert cost_usd(REALTIME, added(usage, tokens(**{kind: more}))) > cost_usd(REALTIME, usage)


@given(usages(), st.sampled_from([REALTIME, MINI]))
def test_cached_tokens_never_raise_the_cost(usage: dict[str, int], prices: Prices) -> None:
    uncached = usage | {f"cached_{kind}": 0 for kind in READ}

    assert 0 <= cost_usd(prices, usage) <= cost_usd(prices, uncached) * (1 + 1e-12)


@given(st.lists(usages(), min_size=1, max_size=10))
def test_columns_cost_the_same_as_their_rows(rows: list[dict[str, int]]) -> None:
    each = [cost_usd(MINI, row) for row in rows]

    arrays = cost_usd(MINI, {kind: np.array([row[kind] for row in rows]) for kind in KINDS})
    series = cost_usd(MINI, {kind: pd.Series([row[kind] for row in rows]) for kind in KINDS})

    assert arrays.tolist() == pytest.approx(each)
    assert series.tolist() == pytest.approx(each)


# The prices that apply.

TABLE = {
    "gpt-realtime": REALTIME,
    "gpt-realtime-mini": MINI,
    "gpt-4o-realtime-preview-2024-10-01": MINI,
}


@pytest.mark.parametrize(
    ("model", "prices"),
    [
        ("gpt-realtime", REALTIME),
        ("gpt-realtime-2025-08-28", REALTIME),
        ("gpt-4o-realtime-preview-2024-10-01", MINI),
        ("gpt-4o-realtime-preview-2024-12-17", None),
        ("gpt-realtime-2.1", None),
        ("gpt-realtime-mini-eu", None),
        ("gpt-realtime-2025-08-28-custom", None),
        ("", None),
    ],
)
def test_a_model_has_the_prices_of_its_name_with_or_without_a_date(
    model: str, prices: Prices | None
) -> None:
    assert prices_of(TABLE, model) is prices


# The format.


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "0.00"),
        (0.00001, "0.0001"),
        (0.000421, "0.00042"),
        (1.316, "1.32"),
        (12345.6, "12,345.60"),
    ],
)
def test_an_amount_is_printed_in_cents_or_with_more_digits_if_it_is_smaller(
    usd: float, text: str
) -> None:
    assert dollars(usd) == text


LIVE, LUNA = Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.05), Prices(0.1, 0.01, 0.5, 0, 0, 0)
OF_LIVE = {"gpt-live-1": LIVE, "gpt-6-luna": LUNA}
OWN_TOKENS, OWN_MINUTES = Prices(1, 1, 1, 1, 1, 1), Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.04)
OWN_BOTH = replace(OWN_TOKENS, usd_per_minute=0.04)


@pytest.mark.parametrize(
    ("own", "backend", "of_minutes", "of_tokens"),
    [
        (None, "gpt-6-luna", LIVE, LUNA),
        (None, "gpt-6-luna-2026-09-22", LIVE, LUNA),
        (None, "gpt-next", LIVE, None),
        (None, None, LIVE, None),
        (None, "gpt-live-1", LIVE, None),  # a model without prices of tokens
        (OWN_MINUTES, "gpt-6-luna", OWN_MINUTES, LUNA),
        (OWN_MINUTES, "gpt-next", OWN_MINUTES, None),
        (OWN_TOKENS, "gpt-next", LIVE, OWN_TOKENS),
        (OWN_BOTH, None, OWN_BOTH, OWN_BOTH),
    ],
)
def test_a_backend_has_its_own_price_or_none_but_never_that_of_the_session(
    own: Prices | None, backend: str | None, of_minutes: Prices, of_tokens: Prices | None
) -> None:
    terms = PricingTerms("gpt-live-1", own, Billing.BACKEND)
    tokens = tariff_of(OF_LIVE, terms, token_model(terms, "gpt-live-1", backend))

    assert tariff_of(OF_LIVE, terms, BilledModel("gpt-live-1")).prices == of_minutes
    assert (tokens.prices, tokens.model) == (of_tokens, backend or "")


LISTED = {"gpt-realtime": REALTIME, "gpt-realtime-mini": MINI}
FLAT = Prices(1, 1, 1, 1, 1, 1)
CASES = {
    "the service names it": ("gpt-realtime-2025-08-28", PricingTerms("voice"), "gpt-realtime"),
    "what answers goes before what was asked for": (
        "gpt-realtime-mini",
        PricingTerms("gpt-realtime"),
        "gpt-realtime-mini",
    ),
    "what was asked for, where none is named": (None, PricingTerms("gpt-realtime"), "gpt-realtime"),
    "another model is no reason for the other's price": (
        "gpt-next",
        PricingTerms("gpt-realtime"),
        None,
    ),
    "a deployment's name that is no model's": (None, PricingTerms("voice"), None),
    "no source names any": (None, PricingTerms(), None),
    "a service with tiers of its own": (
        "gpt-realtime",
        PricingTerms("gpt-realtime", billing=Billing.TIERS),
        None,
    ),
    "own prices": ("gpt-next", PricingTerms("voice", FLAT), "own"),
    "own prices without a name": (None, PricingTerms(None, FLAT), "own"),
}


@pytest.mark.parametrize(("answered", "terms", "by"), CASES.values(), ids=CASES.keys())
def test_a_turn_has_the_same_price_in_the_cost_meter_the_log_and_the_report(
    tmp_path: Path, answered: str | None, terms: PricingTerms, by: str | None
) -> None:
    prices = FLAT if by == "own" else LISTED.get(by or "")
    usage = TokenUsage(text_in=100, audio_in=30, text_out=12, audio_out=60)
    spending = CostMeter(LISTED, {"sim": terms})
    spending.add("sim", answered, usage)
    target = replace(build_target(), model=terms.requested_model, prices=terms.own)
    seen = check_reply(
        build_observation(usage=usage), target, tariff_of(LISTED, terms, BilledModel(answered))
    ).message
    (charge,) = money_of(reported(tmp_path, answered, terms), ["sim"]).targets[0].models

    assert charge.prices == prices
    assert charge.model == (answered or terms.requested_model or UNNAMED)
    if prices is None:
        assert (spending.usd_at(0), spending.unpriced) == (0.0, 1)
        assert spending.unknown_models == {answered or terms.requested_model or ""}
        assert "no price of" in seen
    else:
        usd = (
            100 * prices.text_input
            + 30 * prices.audio_input
            + 12 * prices.text_output
            + 60 * prices.audio_output
        ) / 1e6
        assert (spending.usd_at(0), spending.unpriced) == (pytest.approx(usd), 0)
        assert f"${dollars(usd)}" in seen


def reported(folder: Path, answered: str | None, terms: PricingTerms) -> RunFrames:
    """Return the frames of a run. The model that its sessions report is `answered`."""
    run = rtbench.load(synthetic.write(folder, Plan(sessions=2, usage=True)), all_columns=False)
    dialect = "voice-live" if terms.billing is Billing.TIERS else "ga"
    entry = {"name": "sim", "model": terms.requested_model, "dialect": dialect}
    own = {"prices": asdict(terms.own)} if terms.own else {}
    models = {name: asdict(prices) for name, prices in LISTED.items()}
    sessions = run.sessions.assign(model=answered)
    return replace(
        run,
        sessions=sessions,
        metadata=run.metadata | {"targets": [entry | own], "prices": {"models": models}},
    )


@given(
    answered=st.none() | st.sampled_from(["", *LISTED, "x"]),
    asked=st.none() | st.sampled_from(["", *LISTED, "y"]),
)
def test_the_price_of_a_turn_is_that_of_the_model_reported_with_it(
    answered: str | None, asked: str | None
) -> None:
    found = tariff_of(LISTED, PricingTerms(asked), BilledModel(answered))

    assert found == TurnPricing(
        found.model, LISTED.get(found.model), "table" if found.model in LISTED else ""
    )
    assert found.model == (answered or asked or "")
    assert tariff_of(LISTED, PricingTerms(asked, FLAT), BilledModel(answered)).prices is FLAT


def test_unreadable_token_counts_have_no_price() -> None:
    unread = TokenUsage(unread=1, audio_out=60)
    spending = CostMeter(LISTED, {"sim": PricingTerms("gpt-realtime")})
    spending.add("sim", None, unread)
    tariff = tariff_of(LISTED, PricingTerms("gpt-realtime"), BilledModel(None))
    seen = check_reply(build_observation(usage=unread), build_target(), tariff).message

    assert (spending.usd_at(0), spending.unpriced, spending.unknown_models) == (0.0, 1, set())
    assert "unpriced" in seen
    assert "$" not in seen
    assert not math.isnan(spending.usd_at(0))
