#!/bin/sh
# Software: livekit-agents 1.8.9, livekit-plugins-google 1.8.9, google-genai 3.6.1 (PyPI, Python), the `RealtimeModel` for Gemini Live and
#           its `metrics_collected`, added up by `ModelUsageCollector`.
# Expected: the output tokens of a turn include those of thinking. LiveKit says so of its usage: "Output tokens spent on hidden reasoning.
#           Already counted in `output_tokens`". Google reports them in a field of their own (`thoughtsTokenCount`), apart from
#           `responseTokenCount`, and its price of output is one "including thinking tokens".
# Seen:     `output_tokens` is `responseTokenCount` alone. The tokens of thinking are in no count of output or reasoning, and those of the
#           results of tools (`toolUsePromptTokenCount`) are in no count of input. If Google's total contains them, as google-genai
#           documents it, `total_tokens` of the metric is more than input and output. If the total leaves thinking out, as that of
#           gemini-3.8-live does on the wire, no figure contains it. The usage of a session, which has no total, never contains it.
# Why:      models with native audio think by default. A record of gemini-3.8-live in Google's forum has 136 tokens of thinking next to 42 of
#           speech, in reply to "Hello.". So three quarters of the output are in no figure of LiveKit. Cost per minute and tokens per second
#           are too low by an amount that depends on the question, so small talk and hard questions differ in the invoice alone.
# Takes about a minute.
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
import os
import ssl

import trustme
from google.genai import types
from livekit.agents.metrics import ModelUsageCollector
from livekit.plugins import google
from websockets.asyncio.server import serve

RATE_HZ = 24_000
PROMPT, SPEECH = 522, 42
usage = {}


def counts(tools, thinking, is_in_total):
    """Return a `usageMetadata` of Gemini Live."""
    total = PROMPT + SPEECH + (tools + thinking if is_in_total else 0)
    return {
        "promptTokenCount": PROMPT,
        "toolUsePromptTokenCount": tools,
        "responseTokenCount": SPEECH,
        "thoughtsTokenCount": thinking,
        "totalTokenCount": total,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": PROMPT}],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": SPEECH}],
    }


async def service(connection):
    """Reply as Gemini Live does to the first content: audio, and then the end of the turn with its usage."""
    await connection.recv()
    await connection.send(json.dumps({"setupComplete": {}}))
    await connection.recv()
    data = base64.b64encode(bytes(RATE_HZ * 2)).decode()
    part = {"inlineData": {"mimeType": f"audio/pcm;rate={RATE_HZ}", "data": data}}
    await connection.send(json.dumps({"serverContent": {"modelTurn": {"parts": [part]}}}))
    end = {"generationComplete": True, "turnComplete": True}
    await connection.send(json.dumps({"serverContent": end, "usageMetadata": usage}))
    await connection.wait_closed()


async def turn(options):
    """Return the metric of one turn, and the usage that the collector makes of it."""
    model = google.realtime.RealtimeModel(
        model="gemini-2.5-flash-native-audio-preview-12-2025", api_key="key", http_options=options,
    )
    session = model.session()
    collector = ModelUsageCollector()
    metric = asyncio.get_running_loop().create_future()

    def collect(event):
        if event.input_tokens and not metric.done():
            collector.collect(event)
            metric.set_result(event)

    session.on("metrics_collected", collect)
    await asyncio.wait_for(session.generate_reply(instructions="Greet."), 20)
    event = await asyncio.wait_for(metric, 20)
    await session.aclose()
    await model.aclose()
    return event, collector.flatten()[0]


async def main():
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.pem")
    os.environ["SSL_CERT_FILE"] = "ca.pem"
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    missing = []
    async with serve(service, "127.0.0.1", 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        options = types.HttpOptions(base_url=f"https://localhost:{port}", api_version="v1beta")
        for tools, thinking, is_in_total in ((0, 0, True), (0, 136, False), (0, 136, True), (200, 136, True)):
            usage.update(counts(tools, thinking, is_in_total))
            metric, session = await turn(options)
            print(f"the service: prompt {PROMPT}, tools {tools}, speech {SPEECH}, thinking {thinking}, "
                  f"total {usage['totalTokenCount']}")
            print(f"  metric: input {metric.input_tokens}, output {metric.output_tokens}, total {metric.total_tokens}")
            print(f"  usage of the session: input {session.input_tokens}, output {session.output_tokens}, "
                  f"reasoning {session.output_reasoning_tokens}")
            counted = session.input_tokens + session.output_tokens
            missing.append(PROMPT + tools + SPEECH + thinking - counted)
            print(f"  in no count of the session: {missing[-1]} tokens")
    same = missing == [0, 136, 136, 336]
    print("As described: thinking is not counted." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
