"""One price for one turn: the live line, the doctor and the report go by the same model, and by the same prices."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reports
from bench.doctor.service_findings import replied
from bench.load.playing.progress import Spending
from bench.money import Prices, Tariff, Terms, dollars, tariff_of
from bench.protocol.events import Usage
from reports.runs import RunFrames
from reports.summary.money import UNNAMED, money_of
from tests.doctor.targets import build_target
from tests.helpers import build_observation
from tests.reports import synthetic
from tests.reports.synthetic import Plan

TABLE = {
    "gpt-realtime": Prices(
        text_input=4, text_cached_input=0.4, text_output=16, audio_input=32, audio_cached_input=0.4, audio_output=64
    ),
    "gpt-realtime-mini": Prices(
        text_input=0.6, text_cached_input=0.06, text_output=2.4, audio_input=10, audio_cached_input=0.3, audio_output=20
    ),
}
FLAT = Prices(1, 1, 1, 1, 1, 1)
CASES = {
    "the service names it": ("gpt-realtime-2025-08-28", Terms("voice"), "gpt-realtime"),
    "what answers goes before what was asked for": ("gpt-realtime-mini", Terms("gpt-realtime"), "gpt-realtime-mini"),
    "what was asked for, where none is named": (None, Terms("gpt-realtime"), "gpt-realtime"),
    "another model is no reason for the other's price": ("gpt-next", Terms("gpt-realtime"), None),
    "a deployment's name that is no model's": (None, Terms("voice"), None),
    "nobody names any": (None, Terms(), None),
    "a service with tiers of its own": ("gpt-realtime", Terms("gpt-realtime", listed=False), None),
    "own prices": ("gpt-next", Terms("voice", FLAT), "own"),
    "own prices without a name": (None, Terms(None, FLAT), "own"),
}


@pytest.mark.parametrize(("answered", "terms", "by"), CASES.values(), ids=CASES.keys())
def test_a_turn_has_one_price_wherever_it_is_told(
    tmp_path: Path, answered: str | None, terms: Terms, by: str | None
) -> None:
    prices = FLAT if by == "own" else TABLE.get(by or "")
    usage = Usage(text_in=100, audio_in=30, text_out=12, audio_out=60)
    spending = Spending(TABLE, {"sim": terms})
    spending.add("sim", answered, usage)
    target = replace(build_target(), model=terms.asked, prices=terms.own)
    seen = replied(build_observation(usage=usage), target, tariff_of(TABLE, terms, answered)).message
    (charge,) = money_of(reported(tmp_path, answered, terms), ["sim"]).targets[0].models

    assert charge.prices == prices
    assert charge.model == (answered or terms.asked or UNNAMED)
    if prices is None:
        assert (spending.usd_at(0), spending.unpriced) == (0.0, 1)
        assert spending.unknown_models == {answered or terms.asked or ""}
        assert "no price of" in seen
    else:
        usd = (
            100 * prices.text_input + 30 * prices.audio_input + 12 * prices.text_output + 60 * prices.audio_output
        ) / 1e6
        assert (spending.usd_at(0), spending.unpriced) == (pytest.approx(usd), 0)
        assert f"${dollars(usd)}" in seen


def reported(folder: Path, answered: str | None, terms: Terms) -> RunFrames:
    """A run whose sessions were answered by that model."""
    run = reports.load(synthetic.write(folder, Plan(sessions=2, usage=True)), all_columns=False)
    entry = {"name": "sim", "model": terms.asked, "dialect": "ga" if terms.listed else "voice-live"}
    own = {"prices": asdict(terms.own)} if terms.own else {}
    models = {name: asdict(prices) for name, prices in TABLE.items()}
    sessions = run.sessions.assign(model=answered)
    return replace(
        run, sessions=sessions, metadata=run.metadata | {"targets": [entry | own], "prices": {"models": models}}
    )


@given(answered=st.none() | st.sampled_from(["", *TABLE, "x"]), asked=st.none() | st.sampled_from(["", *TABLE, "y"]))
def test_a_price_is_that_of_the_model_that_is_named_with_it(answered: str | None, asked: str | None) -> None:
    found = tariff_of(TABLE, Terms(asked), answered)

    assert found == Tariff(found.model, TABLE.get(found.model), "table" if found.model in TABLE else "")
    assert found.model == (answered or asked or "")
    assert tariff_of(TABLE, Terms(asked, FLAT), answered).prices is FLAT


def test_tokens_that_cannot_be_read_have_no_price_anywhere() -> None:
    unread = Usage(unread=1, audio_out=60)
    spending = Spending(TABLE, {"sim": Terms("gpt-realtime")})
    spending.add("sim", None, unread)
    seen = replied(
        build_observation(usage=unread), build_target(), tariff_of(TABLE, Terms("gpt-realtime"), None)
    ).message

    assert (spending.usd_at(0), spending.unpriced, spending.unknown_models) == (0.0, 1, set())
    assert "unpriced" in seen
    assert "$" not in seen
    assert not math.isnan(spending.usd_at(0))
