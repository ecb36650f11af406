"""The progress of a run, added up over all its processes."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from gevent.event import Event

from bench.base.errors import UsageError
from bench.catalogue.pricing import Prices
from bench.load.execution.progress import CostMeter, ProgressReport
from bench.load.lifecycle import RunState
from bench.load.planning.run_plan import RunPlan
from bench.load.runners.interim_analyses import InterimAnalyses
from bench.load.runners.monitor import RunMonitor, TerminalView
from bench.load.runners.role import sign_in
from bench.target.tokens import Keyring
from bench.wire.events import TokenUsage


def monitor(
    *,
    budget_usd: float | None = None,
    n_targets: int = 1,
    view: TerminalView | None = None,
    warmup_s: float = 0.0,
    run_time_s: float | None = None,
    looks: Any = None,
    aborts: Any = None,
) -> RunMonitor:
    options = SimpleNamespace(budget_usd=budget_usd)
    dialect = SimpleNamespace(has_track=False)
    planned: Any = SimpleNamespace(
        options=options,
        chunk_ms=None,
        targets=[SimpleNamespace(label=f"arm {n}", dialect=dialect) for n in range(n_targets)],
        sessions=10,
        warmup_s=warmup_s,
    )
    return RunMonitor(
        cast(RunPlan, planned),
        view,
        run_time_s=run_time_s,
        analyses=cast(InterimAnalyses, looks),
        aborts=aborts,
    )


def test_the_budget_applies_to_the_sum_over_processes() -> None:
    both = monitor(budget_usd=1.0)

    both.on_report(0, ProgressReport(usd=0.6))
    assert not both.over_budget()
    both.on_report(1, ProgressReport(usd=0.4))
    assert both.over_budget() == "the budget of 1.00 USD is spent: 1.00 USD"


def test_a_budget_counts_tokens_without_a_kind_as_audio() -> None:
    spending = CostMeter({"m": Prices(4, 0, 16, 32, 0, 64)}, {})
    spending.add("sim", "m", TokenUsage(text_in=20, text_out=40, kindless_in=20, kindless_out=40))
    run = monitor(budget_usd=0.0032)

    run.on_report(0, ProgressReport(usd=spending.usd_at(0), kindless_usd=spending.kindless_usd))
    assert run.over_budget() == "the budget of 0.0032 USD is spent: 0.00072 to 0.0032 USD"


@pytest.mark.parametrize(
    ("state", "warmup_s", "expected"),
    [
        (RunState.RUNNING, 0, "measuring 00:00"),
        (RunState.DRAINING, 0, "finishing calls 00:00"),
        (RunState.RUNNING, 60, "warm-up 00:00"),
    ],
)
def test_the_status_line_has_the_phase_and_counts_users_of_all_targets(
    state: RunState, warmup_s: float, expected: str
) -> None:
    screen = io.StringIO()
    shown = monitor(n_targets=2, view=TerminalView(screen, {}), warmup_s=warmup_s)
    shown.on_report(0, ProgressReport(sessions_open=4, sessions_done=10, turns_succeeded=9))
    shown.poll(state)

    assert expected in screen.getvalue()
    assert "4 active, 10 of 20 finished" in screen.getvalue()
    assert "left" not in screen.getvalue() or state is RunState.RUNNING


def test_interim_analyses_count_the_pairs_of_all_processes_and_are_shown() -> None:
    screen = io.StringIO()
    asked: list[Any] = []
    looks = SimpleNamespace(
        consider=lambda pairs, turns, late: asked.append(pairs),
        progress=(3, 10),
        end=lambda: asked.append("end"),
    )
    both = monitor(view=TerminalView(screen, {}), looks=looks)
    both.on_report(0, ProgressReport(pairs_done=40))
    both.on_report(1, ProgressReport(pairs_done=20))
    both.poll()
    both.close()

    assert asked == [60, "end"]
    assert "interim analysis 3/10" in screen.getvalue()


@pytest.mark.parametrize(
    ("done", "usd", "share"),
    [(4, 0.0, 0.2), (4, 0.5, 0.5), (20, 0.5, 1.0)],
    ids=["calls", "budget", "the nearest end"],
)
def test_analyses_of_limits_know_the_share_of_the_run_that_is_over(
    done: int, usd: float, share: float
) -> None:
    asked: list[Any] = []
    aborts = SimpleNamespace(
        consider=lambda over, late: asked.append(over), end=lambda: asked.append("end")
    )
    both = monitor(n_targets=2, budget_usd=1.0, run_time_s=1e9, aborts=aborts)
    both.on_report(0, ProgressReport(sessions_done=done, usd=usd))
    both.poll()
    both.poll(RunState.DRAINING)
    both.close()

    assert asked == [pytest.approx(share), "end"]
    assert both.has_end


@pytest.mark.parametrize(
    ("run_time_s", "done", "early"),
    [(None, 9, True), (None, 10, False), (600.0, 10, True), (0.5, 0, False)],
)
def test_a_run_ends_early_if_its_time_or_sessions_remain(
    run_time_s: float | None, done: int, early: bool
) -> None:
    one = monitor(run_time_s=run_time_s)
    one.on_report(0, ProgressReport(sessions_done=done))

    assert one.is_early is early


def test_without_a_view_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    silent = monitor()
    silent.on_report(0, replace(ProgressReport(), sessions_open=1))

    silent.poll()

    assert capsys.readouterr() == ("", "")


# The sign-in before a run.


class FakeKeyring:
    """A stand-in for a keyring. `open` waits until `may_open` is set. Then it fails if
    `refuses`.
    """

    def __init__(self, refuses: bool = False) -> None:
        self.may_open, self.unsupported_setting = Event(), refuses

    def open(self) -> None:
        self.may_open.wait()
        if self.unsupported_setting:
            raise UsageError("no token")


def test_a_long_sign_in_prints_what_it_waits_for() -> None:
    keyring, output = FakeKeyring(), list[str]()
    signing = gevent.spawn(sign_in, cast(Keyring, keyring), output.append, 0.001)
    while not output:
        gevent.sleep(0.001)

    assert output == ["signing in through Microsoft Entra ID …"]
    keyring.may_open.set()
    signing.get()
    assert len(output) == 1


@pytest.mark.parametrize("refuses", [False, True])
def test_a_short_sign_in_prints_nothing(refuses: bool) -> None:
    keyring, output = FakeKeyring(refuses), list[str]()
    keyring.may_open.set()
    signing = gevent.spawn(sign_in, cast(Keyring, keyring), output.append, 0.05)
    signing.join()
    gevent.sleep(0.1)

    assert isinstance(signing.exception, UsageError) is refuses
    assert output == []
