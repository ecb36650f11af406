"""A quick simulator for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator_process import Ready, quick_simulator


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    folder = tmp_path_factory.mktemp("simulator")
    with quick_simulator(folder, "--ground-truth", str(folder / "truth.jsonl")) as ready:
        yield ready
