"""The tables in docs/simulator.md agree with the results of the tests and of the benchmark."""

from __future__ import annotations

import pytest

from benchmarks.frameworks import FRAMEWORKS
from rtbench.cli.simulate import CLIENTS, lines_for
from tests.clients.cells import BENCHMARK, PASS, ROWS, STEPS
from tests.clients.connect import CONNECT, TRIED
from tests.clients.sources import ADDRESS, PROGRAMS, source
from tests.clients.steps import PLAYED
from tools.client_table import PAGE, sections, written
from tools.made_page import SECTION


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert written(page) == page, "run `make schema`"
    assert all(SECTION.format(name, text) in page for name, text in sections().items())


def test_each_client_that_the_page_assigns_to_the_benchmark_is_in_the_benchmark() -> None:
    assert {row.client for row in ROWS if row.where == BENCHMARK} == set(FRAMEWORKS)


def test_each_step_and_each_client_of_the_table_is_tested() -> None:
    assert list(PLAYED) == list(STEPS)
    assert [(row.client, row.dialect) for row in TRIED] == list(CONNECT)
    assert {row.outcome(step) for row in TRIED for step in STEPS} == {PASS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_program_of_the_page_has_the_lines_that_the_simulator_prints(name: str) -> None:
    (client,) = [client for client in CLIENTS if client.name == name]
    lines = [line.strip() for line in source(name).splitlines()]

    scheme = "wss" if client.secure else "ws"
    assert set(lines_for(client, f"{scheme}://{ADDRESS}", "any")) <= set(lines)
