#!/bin/sh
# Software: openai 3.57.0 with websockets 15.0.1 (PyPI, Python), `async for event in connection` of `client.realtime.connect(...)`.
# Expected: an application may take as long over a delta as the delta lasts. It plays each one, as the loop in the package's README
#           does with text, and so reads at the speed of speech. The service sends faster, and TCP holds the rest back (RFC 9293
#           section 3.8.6). The connection is in order, and the reply of 60 s is heard to its end.
# Seen:     the client closes the connection about 40 s after it was opened, with 1011 "keepalive ping timeout", in the middle of the reply.
#           websockets pings each 20 s, and wants the pong within 20 s more. The service answers the ping at once, but its pong waits
#           behind the audio that is not read yet. The exception says "keepalive ping timeout", and nothing of a slow reader. The
#           same loop hears a reply of 15 s completely. An application that reads at once, and plays from a queue of its own, hears
#           all 60 s.
# Why:      only long replies are lost (of more than 20 to 40 s), so tests with short ones pass. The service, or the network,
#           is blamed for a call that the client ended. The service counts a close by the caller with "internal error".
# Takes about two minutes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install "openai[realtime]==3.57.0" websockets==15.0.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >show.py <<'EOF'
import asyncio
import base64
import json
import time
import urllib.parse

import openai
import websockets
from websockets.asyncio.server import serve

DELTA_S = 0.1
DELTA = base64.b64encode(bytes(int(24_000 * 2 * DELTA_S))).decode()
PART = {"response_id": "response-1", "item_id": "item-1", "output_index": 0, "content_index": 0}
SESSION = {"id": "session-1", "object": "realtime.session", "type": "realtime", "model": "gpt-realtime"}
closes = {}  # by model: how the service saw the end of the connection


async def service(connection):
    """Send a reply as fast as the client takes it. The name of the model gives its length in s."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(connection.request.path).query)
    model = query["model"][0]
    names = (f"event-{n}" for n in range(10_000))

    async def send(kind, **fields):
        await connection.send(json.dumps({"type": kind, "event_id": next(names), **fields}))

    try:
        await send("session.created", session=SESSION)
        for _ in range(round(float(model.split("-")[1]) / DELTA_S)):
            await send("response.output_audio.delta", **PART, delta=DELTA)
        await send("response.output_audio.done", **PART)
        await connection.wait_closed()
    except websockets.ConnectionClosed:
        pass
    closes[model] = f"{connection.close_code} {connection.close_reason}".strip()


async def read_and_play(connection):
    heard_s = 0.0
    error = "none"
    try:
        async for event in connection:
            if event.type == "response.output_audio.delta":
                await asyncio.sleep(DELTA_S)
                heard_s += DELTA_S
            if event.type == "response.output_audio.done":
                break
    except websockets.ConnectionClosed as closed:
        error = repr(closed)
    return heard_s, error


async def read_and_queue(connection):
    deltas = asyncio.Queue()
    heard_s = 0.0

    async def play():
        nonlocal heard_s
        while await deltas.get() is not None:
            await asyncio.sleep(DELTA_S)
            heard_s += DELTA_S

    player = asyncio.create_task(play())
    async for event in connection:
        if event.type == "response.output_audio.delta":
            deltas.put_nowait(event.delta)
        if event.type == "response.output_audio.done":
            break
    deltas.put_nowait(None)
    await player
    return heard_s, "none"


async def call(port, model, application):
    client = openai.AsyncOpenAI(api_key="key", base_url=f"http://127.0.0.1:{port}/v1")
    started_s = time.monotonic()
    async with client.realtime.connect(model=model) as connection:
        heard_s, error = await application(connection)
    ended_s = time.monotonic() - started_s
    return heard_s, error, ended_s


async def main():
    calls = {"play-60": read_and_play, "play-15": read_and_play, "queue-60": read_and_queue}
    async with serve(service, "127.0.0.1", 0, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        ends = await asyncio.gather(*(call(port, model, run) for model, run in calls.items()))
        await asyncio.sleep(0.5)
    for model, (heard_s, error, ended_s) in zip(calls, ends):
        how, length_s = model.split("-")
        reads = "reads as it plays" if how == "play" else "reads at once, plays from a queue"
        print(f"reply of {length_s} s, the application {reads}: heard {heard_s:.1f} s, ended after {ended_s:.1f} s")
        print(f"  exception: {error}\n  the service saw the close: {closes[model]}")
    long, short, queued = ends
    same = (
        long[0] < 55
        and "keepalive ping timeout" in long[1]
        and closes["play-60"].startswith("1011")
        and round(short[0], 1) == 15
        and round(queued[0], 1) == 60
    )
    print("As described: the long reply is cut." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
