"""The preparation of a search, and the reasons for which a search is refused."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.target.target_settings import ServiceOptions
from rtbench.capacity import level_run as playing
from rtbench.capacity.document import SearchPlan
from rtbench.capacity.level_run import PreparedSearch, cost_amounts, prepare_search
from tests.capacity.built import build_plan

LISTENING = socket.create_server(("127.0.0.1", 0))
URL = f"ws://127.0.0.1:{LISTENING.getsockname()[1]}/v1"
HERE = {"name": "here", "url": URL, "loopback": True, "max_calls": None}
AWAY = {"name": "west", "url": "wss://west.example/v1", "loopback": False, "max_calls": None}
COST = "about 0.02 to 0.25 USD for a session"


def searching(
    monkeypatch: pytest.MonkeyPatch,
    *targets: dict[str, Any],
    plan: SearchPlan | None = None,
    **options: Any,
) -> PreparedSearch:
    forecast = {
        "scenario": "calls",
        "targets": list(targets),
        "session_s": 20.0,
        "call_s": 26.0,
        "session_usd": [0.02, 0.25],
        "cost": COST,
        "connect_rate": 30.0,
        "notices": ["the token is old"],
        "lacking": [None],
    }
    monkeypatch.setattr(playing, "_dry_run", lambda file, words: forecast)
    options = {"yes": False} | options
    return prepare_search(
        ServiceOptions(),
        [Path("calls.py")],
        plan or build_plan(),
        Path("levels"),
        ["--seed", "7"],
        **options,
    )


def test_a_search_on_this_machine_has_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = searching(monkeypatch, HERE)

    assert ready.costs == ["the token is old"]
    about = (ready.forecast[name] for name in ("scenario", "connect_rate", "call_s"))
    assert (ready.target, *about) == ("here", "calls", 30.0, 26.0)
    assert ready.locust.options == ["--seed", "7"]


def test_a_closed_port_of_this_machine_is_named_before_the_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(
        UsageError, match=f"no server listens on 127.0.0.1 port {port}: start it, or check --url"
    ):
        searching(monkeypatch, HERE | {"url": f"ws://127.0.0.1:{port}/v1"})
    assert searching(monkeypatch, HERE | {"url": f"sip:agent@127.0.0.1:{port}"}).target == "here"


def test_calls_to_another_host_need_the_option_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError, match=r"hundreds of sessions to wss://west.example/v1.* add --yes"
    ):
        searching(monkeypatch, AWAY)

    assert searching(monkeypatch, AWAY, yes=True).target == "west"


def test_the_maximum_cost_of_a_search_is_stated_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = build_plan(most=100, time_s=1800.0)

    ready = searching(monkeypatch, AWAY, plan=plan, yes=True)
    limited = searching(monkeypatch, AWAY, plan=build_plan(most=100, budget_usd=5.0), yes=True)

    assert ready.costs[1:] == [
        COST,
        (
            "the search makes at most 9,000 calls for 2,250.00 USD, if all of its time is spent at"
            " 100 concurrent calls"
        ),
        "--budget USD limits the cost",
    ]
    assert "--budget USD limits the cost" not in limited.costs
    assert ready.locust.options[-1] == "--yes"


def test_several_targets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="calls one target, but several are selected: here, west"):
        searching(monkeypatch, HERE, AWAY)


def test_a_search_needs_a_pair_of_ports_for_each_telephone_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = build_plan(most=11)

    with pytest.raises(
        UsageError, match=r"10 calls at the same time, but the search has up to 11: .* lower --to$"
    ):
        searching(monkeypatch, HERE | {"max_calls": 10}, plan=plan)
    assert searching(monkeypatch, HERE | {"max_calls": 11}, plan=plan).target == "here"


def test_the_cost_of_calls_of_unknown_duration_is_not_stated() -> None:
    forecast = {"session_s": 0.0, "session_usd": [0.02, 0.25], "cost": COST}

    assert cost_amounts(forecast, build_plan()) == [COST]
