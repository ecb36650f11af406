"""Who sends metrics, and what it is told."""

from __future__ import annotations

import re
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from bench.errors import UsageError
from bench.load.leading import monitor
from bench.load.leading.monitor import check_installed


def nowhere(name: str) -> ModuleSpec | None:
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("find_spec", [lambda name: None, nowhere])
def test_without_the_extra_packages_there_is_a_line_that_says_so(
    find_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "find_spec", find_spec)

    with pytest.raises(UsageError, match=re.escape("pip install 'rtbench[otel]'")):
        check_installed()
