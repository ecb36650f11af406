#!/bin/sh
# Software: azure-ai-voicelive 1.3.1 with aiohttp 3.14.5 (PyPI, Python).
# Expected: the documented option `compression` ("Use True to enable, False to disable") turns permessage-deflate on.
# Seen:     with `compression=True` no connection is ever made. The client raises before it sends a byte. `compression=15`
#           offers compression, although the documentation keeps numbers for advanced users.
# Why:      audio in base64 shrinks with compression, so people measure the effect of compression on latency. In a load
#           test all calls of the variant with compression fail, and the message "Failed to establish WebSocket connection"
#           reads as a failure of the service.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install azure-ai-voicelive==1.3.1 aiohttp==3.14.5
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import asyncio

from aiohttp import web
from azure.ai.voicelive.aio import connect
from azure.core.credentials import AzureKeyCredential

requests = []
SESSION = {"id": "session-1", "object": "realtime.session", "model": "gpt-realtime"}


async def serve(request):
    requests.append(request.headers.get("Sec-WebSocket-Extensions"))
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json({"type": "session.created", "event_id": "event-1", "session": SESSION})
    async for _ in socket:
        pass
    return socket


async def outcome(endpoint, options):
    requests.clear()
    key = AzureKeyCredential("key")
    try:
        async with connect(
            endpoint=endpoint, credential=key, model="gpt-realtime", connection_options=options
        ) as connection:
            await connection.recv()
    except Exception as error:
        return f"{len(requests)} requests; {type(error).__name__}: {error}"
    return f"{len(requests)} request; connected; extension offered: {requests[0]}"


async def main():
    app = web.Application()
    app.router.add_get("/voice-live/realtime", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    seen = {}
    for compression in (False, True, 15):
        seen[compression] = await outcome(endpoint, {"compression": compression})
        print(f"compression={compression}: {seen[compression]}")
    await runner.cleanup()
    same = (
        seen[False].startswith("1 request; connected; extension offered: None")
        and seen[True].startswith("0 requests; ConnectionError")
        and seen[15].startswith("1 request; connected; extension offered: permessage-deflate")
    )
    print("As described: True never connects." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
