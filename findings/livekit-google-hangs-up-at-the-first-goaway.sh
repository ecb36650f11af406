#!/bin/sh
# Software: livekit-agents 1.8.9, livekit-plugins-google 1.8.9, google-genai 3.6.1 (PyPI, Python), the `RealtimeModel` for Gemini Live.
# Expected: `goAway` with `timeLeft` 50 s is an early notice. The plugin finishes the reply in progress, and then changes the session.
# Seen:     it closes the connection 0.1 s later, with code 1000, in the middle of the reply. The service has sent 1 s of a reply of
#           5 s. The caller hears no more of it. The stream of the reply's audio ends like that of a complete reply: without an
#           exception and without an error event. The only sign is a warning in the log that the service "indicates disconnection
#           soon".
# Why:      Gemini Live ends each connection after about ten minutes, and gives notice before. So in long calls the client cuts a
#           reply, although the service has time to finish it. A load test of the agent counts a short, complete reply with a good
#           latency. The service sees a caller who hangs up.
# Takes about 10 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install livekit-agents==1.8.9 livekit-plugins-google==1.8.9 google-genai==3.6.1 \
        websockets==16.1.1 trustme==1.2.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >show.py <<'EOF'
import asyncio
import base64
import json
import logging
import os
import ssl
import time

import trustme
import websockets
from google.genai import types
from livekit.plugins import google
from websockets.asyncio.server import serve

RATE_HZ = 24_000
CHUNKS = 50  # of 100 ms, in real time
NOTICE_AFTER = 10
TIME_LEFT_S = 50
records = []
connections = []


class Collector(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            records.append(f"{record.levelname} {record.getMessage()}")


async def service(connection):
    """Reply as Gemini Live does to the first content. Give notice after 1 s of the reply."""
    seen = {"sent": 0, "closed_after_s": None, "completed": False}
    connections.append(seen)
    await connection.recv()
    await connection.send(json.dumps({"setupComplete": {}}))
    try:
        await connection.recv()
        if len(connections) > 1:
            await connection.wait_closed()
            return
        for number in range(CHUNKS):
            data = base64.b64encode(bytes(RATE_HZ // 10 * 2)).decode()
            part = {"inlineData": {"mimeType": f"audio/pcm;rate={RATE_HZ}", "data": data}}
            await connection.send(json.dumps({"serverContent": {"modelTurn": {"parts": [part]}}}))
            seen["sent"] = number + 1
            if seen["sent"] == NOTICE_AFTER:
                noticed_s = time.monotonic()
                await connection.send(json.dumps({"goAway": {"timeLeft": f"{TIME_LEFT_S}s"}}))
            await asyncio.sleep(0.1)
        await connection.send(json.dumps({"serverContent": {"generationComplete": True, "turnComplete": True}}))
        seen["completed"] = True
        await connection.wait_closed()
    except websockets.ConnectionClosed:
        seen["closed_after_s"] = time.monotonic() - noticed_s if seen["sent"] >= NOTICE_AFTER else None
        seen["code"] = connection.close_code


async def main():
    logging.getLogger().addHandler(Collector())
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.pem")
    os.environ["SSL_CERT_FILE"] = "ca.pem"
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    async with serve(service, "127.0.0.1", 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        options = types.HttpOptions(base_url=f"https://localhost:{port}", api_version="v1beta")
        model = google.realtime.RealtimeModel(
            model="gemini-2.5-flash-native-audio-preview-12-2025", api_key="key", http_options=options,
        )
        session = model.session()
        errors = []
        session.on("error", errors.append)
        generation = await asyncio.wait_for(session.generate_reply(instructions="Greet."), 10)
        received_s = 0.0
        raised = None
        try:
            async with asyncio.timeout(12):
                async for message in generation.message_stream:
                    async for frame in message.audio_stream:
                        received_s += frame.duration
        except Exception as error:
            raised = error
        await asyncio.sleep(0.5)
        await session.aclose()
        await model.aclose()
    first = connections[0]
    after_s = first["closed_after_s"]
    print(f"the service sent {first['sent'] / 10:.1f} s of a reply of {CHUNKS / 10:.0f} s; notice: {TIME_LEFT_S} s left")
    print(f"the plugin closed the connection {after_s if after_s is None else round(after_s, 2)} s after the notice,"
          f" with code {first.get('code')}; connections: {len(connections)}")
    print(f"the reply ended after {received_s:.1f} s of audio; raised: {raised!r}; error events: {len(errors)}")
    print(*records, sep="\n")
    same = (
        after_s is not None and after_s < 2 and not first["completed"]
        and received_s < CHUNKS / 20 and raised is None and not errors
    )
    print("As described: the reply is cut with 50 s left." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
