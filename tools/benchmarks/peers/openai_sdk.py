"""A client with the official SDK as its documentation uses it: asyncio, one client,
`base64.b64decode` of each delta.

`async for event in connection` calls `parse_event(await recv_bytes())` repeatedly. This client
makes the two calls separately, to count the bytes. It reads the clock when the event is available:
no user of the SDK has the event earlier.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from openai import AsyncOpenAI

from tools.benchmarks.peers.work import SESSION, SessionRecord, Work, item, write_records


async def main(work: Work) -> None:
    address = urlsplit(work.url)
    scheme = "https" if address.scheme == "wss" else "http"
    base_url = f"{scheme}://{address.netloc}{address.path.removesuffix('/realtime')}"
    (model,) = parse_qs(address.query)["model"]
    async with AsyncOpenAI(api_key="none", base_url=base_url) as client:
        sessions = [play(client, model, work, number) for number in range(work.sessions)]
        write_records(work.out, await asyncio.gather(*sessions))


async def play(client: AsyncOpenAI, model: str, work: Work, number: int) -> SessionRecord:
    """Run one session from its due time on."""
    record = SessionRecord()
    await asyncio.sleep(work.opens_after_s(number))
    async with client.realtime.connect(model=model) as connection:
        created = await receive_until(connection, record, "session.created")
        record.session_id = created.session.id
        await connection.session.update(session=cast(Any, SESSION))
        await receive_until(connection, record, "session.updated")
        for turn in range(1, work.turns + 1):
            await connection.conversation.item.create(item=cast(Any, item(turn)))
            record.requested.append(time.perf_counter_ns())
            await connection.response.create()
            await receive_until(connection, record, "response.done")
    return record


async def receive_until(connection: Any, record: SessionRecord, last: str) -> Any:
    """Return the first event of this type; decode the audio before it."""
    audio = bytearray()
    while True:
        message = await connection.recv_bytes()
        event = connection.parse_event(message)
        record.message(time.perf_counter_ns(), len(message))
        if event.type == "response.output_audio.delta":
            audio += base64.b64decode(event.delta)
        elif event.type == last:
            return event


if __name__ == "__main__":
    asyncio.run(main(Work.given()))
