#!/bin/sh
# Software: livekit-agents 1.8.9 and livekit-plugins-openai 1.8.9 (PyPI, Python), `RealtimeModel` with the turn detection of the
#           service. `max_session_duration` is 20 minutes by default, and 3 s here. OpenAI ends a session after 60 minutes.
# Expected: when the plugin replaces the connection, it waits until the caller has finished, as it waits for the end of a reply, or it
#           sends the sentence again.
# Seen:     it replaces the connection in the middle of the sentence. The new session gets the words from then on. The words before
#           are not committed, not answered, and not in the chat context that the plugin sends to the new session. The service sees
#           a session that the client closed while a caller spoke, and another one that begins in the middle of a word. There is
#           no error event and nothing in the log at level WARNING.
# Why:      in each call of more than 20 minutes the agent mishears a sentence, and waits for or answers the rest of it. Tests with
#           short calls do not show it. A test of an hour shows a wrong answer, or a turn with speech of half the duration and a
#           good latency, every 20 minutes.
# Takes about 10 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install livekit-agents==1.8.9 livekit-plugins-openai==1.8.9 aiohttp==3.14.5
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >show.py <<'EOF'
import array
import asyncio
import base64
import json
import logging
import time

import aiohttp
from aiohttp import web
from livekit import rtc
from livekit.plugins import openai

RATE_HZ = 24_000
SPEECH_S = 2.0, 4.0  # a pause, a sentence of 2 s, a pause
SESSION_S = 3.0
warnings = []
connections = []


class Collector(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            warnings.append(record.getMessage())


async def serve(request):
    """Accept audio and items as the Realtime API does. Commit speech when 0.5 s of silence follow it."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    seen = {"speech_ms": 0, "committed_ms": 0, "items": 0}
    connections.append(seen)
    session = {"id": f"session-{len(connections)}", "object": "realtime.session", "type": "realtime"}
    await socket.send_json({"type": "session.created", "event_id": "e1", "session": session})
    silence_ms = 0
    async for message in socket:
        event = json.loads(message.data)
        if event["type"] == "conversation.item.create":
            seen["items"] += 1
        if event["type"] != "input_audio_buffer.append":
            continue
        samples = array.array("h", base64.b64decode(event["audio"]))
        loud_ms = sum(abs(sample) > 1000 for sample in samples) * 1000 // RATE_HZ
        silence_ms = 0 if loud_ms else silence_ms + len(samples) * 1000 // RATE_HZ
        seen["speech_ms"] += loud_ms
        if silence_ms >= 500 and seen["speech_ms"]:
            seen["committed_ms"] = seen["speech_ms"]
    return socket


async def main():
    logging.getLogger().addHandler(Collector())
    app = web.Application()
    app.router.add_get("/v1/realtime", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        model = openai.realtime.RealtimeModel(
            model="gpt-realtime", api_key="key", base_url=f"http://127.0.0.1:{port}/v1",
            max_session_duration=SESSION_S, http_session=http,
        )
        session = model.session()
        errors = []
        session.on("error", errors.append)
        while not connections:
            await asyncio.sleep(0.01)
        started_s = time.monotonic()
        for i in range(round(6 / 0.02)):
            await asyncio.sleep(started_s + i * 0.02 - time.monotonic())
            is_loud = SPEECH_S[0] <= i * 0.02 < SPEECH_S[1]
            samples = array.array("h", [8000 if is_loud else 0] * (RATE_HZ // 50))
            session.push_audio(rtc.AudioFrame(samples.tobytes(), RATE_HZ, 1, len(samples)))
        await asyncio.sleep(0.2)
        await session.aclose()
        await model.aclose()
    await runner.cleanup()
    for number, seen in enumerate(connections, 1):
        print(f"session {number}: received {seen['speech_ms']} ms of speech, committed {seen['committed_ms']} ms,"
              f" {seen['items']} items of earlier turns")
    print(f"spoken: {1000 * (SPEECH_S[1] - SPEECH_S[0]):.0f} ms; error events: {len(errors)}; warnings: {warnings}")
    first, second = connections[:2]
    same = (
        first["speech_ms"] > 500 and not first["committed_ms"] and second["committed_ms"] < 1500
        and not second["items"] and not errors and not warnings
    )
    print("As described: the sentence has lost its beginning." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
