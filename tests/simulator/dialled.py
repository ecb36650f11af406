"""Connections from tests to a simulator, with a timeout that is long enough for a busy machine."""

from __future__ import annotations

from functools import partial

from websockets.asyncio import client as asynchronous
from websockets.sync import client

from tests.simulator_process import GUARD_S

connect = partial(client.connect, open_timeout=GUARD_S)
connect_async = partial(asynchronous.connect, open_timeout=GUARD_S)
