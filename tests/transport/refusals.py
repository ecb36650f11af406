"""Calls that fail to connect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.catalogue.causes import ConnectError


def refusal(call: Callable[[], object]) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        call()
    return caught.value
