#!/bin/sh
# Software: azure-ai-voicelive 1.3.1 with aiohttp 3.14.5, and openai 3.57.0 with websockets 16.1.1 for comparison (PyPI, Python).
# Expected: `async for event in connection` ends if the service closes the call in the normal way (code 1000). It raises if the
#           service fails in the middle of a reply (1011, internal error), as the same loop of openai does.
# Seen:     the loop of azure-ai-voicelive ends without an exception at each code: 1000, 1008, 1011, 1012, and even if the
#           connection is cut without a close frame. It logs nothing at level WARNING. A later `recv()` reports code
#           1000 for all of them.
# Why:      an application, or a load test, that is written with this loop counts a reply cut by the service as a call that ended
#           well, with a short reply. The share of errors is zero while the service restarts.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install azure-ai-voicelive==1.3.1 aiohttp==3.14.5 openai==3.57.0 websockets==16.1.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import asyncio
import base64
import logging

from aiohttp import web
from azure.ai.voicelive.aio import ConnectionClosed, connect
from azure.core.credentials import AzureKeyCredential
from openai import AsyncOpenAI

logging.basicConfig(level=logging.WARNING, format="  log: %(name)s: %(message)s")
SESSION = {"type": "realtime", "object": "realtime.session", "id": "session-1", "model": "gpt-realtime"}
RESPONSE = {"id": "response-1", "object": "realtime.response", "status": "in_progress", "output": []}
DELTA = {
    "response_id": "response-1",
    "item_id": "reply-1",
    "output_index": 0,
    "content_index": 0,
    "delta": base64.b64encode(bytes(4800)).decode(),
}
CUT = 1006  # not a close frame: the connection is cut


async def serve(request):
    code = int(request.query["code"])
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    is_azure = "voice-live" in request.path
    audio = "response.audio.delta" if is_azure else "response.output_audio.delta"
    await socket.send_json({"type": "session.created", "event_id": "event-1", "session": SESSION})
    await socket.send_json({"type": "response.created", "event_id": "event-2", "response": RESPONSE})
    await socket.send_json({"type": audio, "event_id": "event-3", **DELTA})
    if code == CUT:
        request.transport.close()
    else:
        await socket.close(code=code, message=b"in the middle of a reply")
    return socket


async def azure(host, code):
    key = AzureKeyCredential("key")
    options = {"endpoint": f"http://{host}", "credential": key, "model": "gpt-realtime"}
    async with connect(**options, query={"code": code}) as connection:
        async for event in connection:
            last = event.type
        try:
            await connection.recv()
        except ConnectionClosed as error:
            code = error.code
    return f"ends after {last}, no exception; recv() then reports code {code}"


async def openai(host, code):
    client = AsyncOpenAI(api_key="key", websocket_base_url=f"ws://{host}")
    async with client.realtime.connect(model="gpt-realtime", extra_query={"code": code}) as connection:
        async for event in connection:
            last = event.type
    return f"ends after {last}, no exception"


async def main():
    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host = f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    raised = {azure: set(), openai: set()}
    for code in (1000, 1008, 1011, 1012, CUT):
        for client in raised:
            try:
                outcome = await client(host, code)
            except Exception as error:
                raised[client].add(code)
                outcome = f"raises {type(error).__name__}: {error}"
            print(f"{'connection cut' if code == CUT else f'close {code}'}, {client.__name__}: {outcome}")
    await runner.cleanup()
    same = raised[azure] == set() and raised[openai] >= {1008, 1011, CUT}
    print("As described: azure-ai-voicelive never raises." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
