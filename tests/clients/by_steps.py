"""A client that has the methods that the steps use: `python -m tests.clients.by_steps CLIENT
DIALECT PORT`.

It runs the steps and prints their outcomes as JSON. It needs no package but the client's own.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tests.clients.connect import CONNECT, item_of
from tests.clients.steps import PLAYED, Talk

GUARD_S = 60


async def outcome(client: str, dialect: str, port: int, step: str) -> str:
    opened, spelling = CONNECT[client, dialect]

    async def play() -> None:
        async with opened(port) as connection:
            await PLAYED[step](Talk(connection, spelling, item_of(dialect)))

    try:
        await asyncio.wait_for(play(), GUARD_S)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "pass"


async def main(client: str, dialect: str, port: str) -> None:
    print(json.dumps({step: await outcome(client, dialect, int(port), step) for step in PLAYED}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
