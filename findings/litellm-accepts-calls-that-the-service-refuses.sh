#!/bin/sh
# Software: litellm 1.108.7 with its proxy (PyPI, Python), a gateway in front of a Realtime API (`openai/gpt-realtime`, WebSocket).
# Expected: the gateway answers the handshake of a client when the service has answered that of the gateway, with the same status:
#           429 with `Retry-After` if the service refuses, and 101 after 2 s if the service takes 2 s.
# Seen:     the gateway answers 101 within milliseconds, whatever the service does. A refusal (429, 401, 503) follows as an `error`
#           event of type `server_error` and a close with 1013, 1008, or 1011. `Retry-After` is lost.
# Why:      the time to connect, measured through this gateway, is that of the gateway alone. All calls connect, also while the
#           service refuses all of them. A client that counts HTTP statuses, or retries them as `Retry-After` says, sees no rate
#           limit. One that takes the event as it is reports an internal error of the service.
# Takes about a minute.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install "litellm[proxy]==1.108.7" websockets==15.0.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >show.py <<'EOF'
import asyncio
import json
import pathlib
import secrets
import socket
import subprocess
import time

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

DELAY_S = 2.0
status = 101  # with which the service answers


async def answer(connection, request):
    await asyncio.sleep(DELAY_S)
    if status == 101:
        return None
    refusal = connection.respond(status, "no\n")
    refusal.headers["Retry-After"] = "7"
    return refusal


async def service(connection):
    session = {"id": "session-1", "object": "realtime.session", "type": "realtime"}
    created = {"type": "session.created", "event_id": "event-1", "session": session}
    await connection.send(json.dumps(created))
    await connection.wait_closed()


async def call(url, key):
    """Return a line, the time to connect in s, and the close code."""
    started_s = time.monotonic()
    try:
        async with connect(url, additional_headers={"Authorization": f"Bearer {key}"}) as client:
            connected_s = time.monotonic() - started_s
            event = json.loads(await client.recv())
            said = f"{event['type']} {event.get('error', '')} after {time.monotonic() - started_s:.1f} s"
            code = None
            if event["type"] == "error":
                await client.wait_closed()
                code = client.close_code
                said += f", closed with {code}"
    except websockets.InvalidStatus as refused:
        headers = refused.response.headers
        said = f"HTTP {refused.response.status_code}, Retry-After {headers.get('Retry-After')}"
        connected_s = code = None
    connected = "did not connect" if connected_s is None else f"connected after {1000 * connected_s:.0f} ms"
    return f"{connected}: {said}", connected_s, code


async def main():
    global status
    key = f"sk-{secrets.token_hex(24)}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with serve(service, "127.0.0.1", 0, process_request=answer) as server:
        direct = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pathlib.Path("proxy.json").write_text(json.dumps({
            "model_list": [{"model_name": "voice", "litellm_params": {
                "model": "openai/gpt-realtime", "api_key": "key", "api_base": direct.replace("ws", "http"),
            }}],
            "general_settings": {"master_key": key},
        }))
        command = ["venv/bin/litellm", "--config", "proxy.json", "--host", "127.0.0.1", "--port", str(port)]
        with open("proxy.log", "w") as log:
            proxy = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                await asyncio.sleep(0.2)
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
            url = f"ws://127.0.0.1:{port}/v1/realtime?model=voice"
            await call(url, key)  # the first one is slower
            seen = {}
            for status in (101, 429, 401, 503):
                directly, *_ = await call(f"{direct}/v1/realtime?model=gpt-realtime", key)
                line, *seen[status] = await call(url, key)
                print(f"service answers {status} after {DELAY_S:.0f} s\n  directly: {directly}\n  gateway:  {line}")
        finally:
            proxy.terminate()
            proxy.wait(20)
    fast = all(connected_s is not None and connected_s < 1.5 for connected_s, _ in seen.values())
    same = fast and [code for _, code in seen.values()] == [None, 1013, 1008, 1011]
    print("As described: the gateway accepts each call at once." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
LITELLM_LOCAL_MODEL_COST_MAP=True venv/bin/python -W ignore show.py 2>errors.log || { status=$?; tail -n 3 errors.log; exit $status; }
