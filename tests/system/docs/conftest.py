"""The folder of a reader of the pages, and the simulator that replaces the deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulator_process import Ready, quick_simulator
from tests.system.docs import reader


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("quick")) as ready:
        yield ready


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("stored")
    reader.store_runs(parent)
    return parent


@pytest.fixture
def place(tmp_path: Path, stored: Path, simulator: Ready) -> Path:
    """Return the reader's folder."""
    return reader.new_place(tmp_path / "place", stored, simulator)
