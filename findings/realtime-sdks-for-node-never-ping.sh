#!/bin/sh
# Software: for Python (PyPI): openai 3.57.0, openai-agents 0.24.0, azure-ai-voicelive 1.3.1.
#           For Node.js 20 (npm): @openai/agents-realtime 0.20.0, @azure/ai-voicelive 1.1.0, @google/genai 3.3.0.
# Expected: the SDKs of one vendor keep an idle call alive in the same way, whatever their language.
# Seen:     in 65 s without a message, the Python SDKs of OpenAI ping each 20 s, and the one of Azure each 30 s. None of the SDKs
#           for Node.js pings.
# Why:      many proxies close a connection after 60 s without data, which is the default of nginx. A muted caller keeps the call
#           with Python and can lose it with Node.js. A load test with one SDK says nothing about idle calls of another one.
# Takes about two minutes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @openai/agents-realtime@0.20.0 @openai/agents-core@0.20.0 zod@4.6.7 \
        @azure/ai-voicelive@1.1.0 @azure/core-auth@1.10.1 @google/genai@3.3.0 ws@8.23.0
    python3 -m venv venv && venv/bin/pip install openai==3.57.0 openai-agents==0.24.0 websockets==16.1.1 \
        azure-ai-voicelive==1.3.1 aiohttp==3.14.5
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >clients.py <<'EOF'
import asyncio
import sys

from agents.realtime import RealtimeAgent, RealtimeRunner
from azure.ai.voicelive.aio import connect
from azure.core.credentials import AzureKeyCredential
from openai import AsyncOpenAI

HOST = sys.argv[1]


async def openai():
    client = AsyncOpenAI(api_key="key", websocket_base_url=f"ws://{HOST}/python-openai")
    async with client.realtime.connect(model="gpt-realtime") as connection:
        async for _ in connection:
            pass


async def openai_agents():
    runner = RealtimeRunner(RealtimeAgent(name="agent", instructions="Help."))
    config = {"api_key": "key", "url": f"ws://{HOST}/python-openai-agents"}
    async with await runner.run(model_config=config) as session:
        async for _ in session:
            pass


async def azure():
    key = AzureKeyCredential("key")
    endpoint = f"http://{HOST}/python-azure"
    async with connect(endpoint=endpoint, credential=key, model="gpt-realtime") as connection:
        async for _ in connection:
            pass


async def main():
    await asyncio.gather(openai(), openai_agents(), azure())


asyncio.run(main())
EOF

cat >show.mjs <<'EOF'
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { GoogleGenAI } from "@google/genai";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import { VoiceLiveClient } from "@azure/ai-voicelive";
import { AzureKeyCredential } from "@azure/core-auth";
import { WebSocketServer } from "ws";

const IDLE_S = 65;
const CLIENTS = {
    "python-openai/": "openai (Python)",
    "python-openai-agents": "openai-agents (Python)",
    "python-azure/": "azure-ai-voicelive (Python)",
    "node-openai-agents": "@openai/agents-realtime (Node.js)",
    "voice-live": "@azure/ai-voicelive (Node.js)",
    "ws/": "@google/genai (Node.js)",
};
const calls = {};

const http = createServer();
new WebSocketServer({ server: http }).on("connection", (socket, request) => {
    const path = request.url.replace(/^\/+/, "");
    const name = CLIENTS[Object.keys(CLIENTS).find((prefix) => path.startsWith(prefix))];
    const started = Date.now();
    const call = (calls[name] = { pings: [], isOpen: true });
    socket.on("ping", () => call.pings.push(Math.round((Date.now() - started) / 1000)));
    socket.on("close", () => { call.isOpen = false; });
    if (path.startsWith("ws/")) {
        socket.once("message", () => socket.send(JSON.stringify({ setupComplete: {} })));
    } else {
        const session = { type: "realtime", object: "realtime.session", id: "session-1", model: "gpt-realtime" };
        socket.send(JSON.stringify({ type: "session.created", event_id: "event-1", session }));
    }
});
http.listen(0, "127.0.0.1");
await once(http, "listening");
const host = `127.0.0.1:${http.address().port}`;

const environment = { ...process.env, OPENAI_AGENTS_DISABLE_TRACING: "1" };
const python = execFile("venv/bin/python", ["clients.py", host], { env: environment });
python.stderr.pipe(process.stderr);
const agent = new RealtimeAgent({ name: "agent", instructions: "Help." });
await new RealtimeSession(agent, { transport: "websocket", tracingDisabled: true })
    .connect({ apiKey: "key", url: `ws://${host}/node-openai-agents` });
await new VoiceLiveClient(`http://${host}`, new AzureKeyCredential("key")).createSession("gpt-realtime").connect();
await new GoogleGenAI({ apiKey: "key", httpOptions: { baseUrl: `http://${host}` } })
    .live.connect({ model: "gemini-live", callbacks: { onmessage() {} } });
while (Object.keys(calls).length < 6) await sleep(100);
await sleep(IDLE_S * 1000);

for (const name of Object.values(CLIENTS)) {
    const { pings, isOpen } = calls[name];
    const times = pings.length ? `pings after ${pings.join(", ")} s` : "no ping";
    console.log(`${name}: ${times} in ${IDLE_S} s; ${isOpen ? "still open" : "closed"}`);
}
const same = Object.entries(calls).every(([name, { pings, isOpen }]) =>
    isOpen && (name.endsWith("(Python)") ? pings.length >= 2 : pings.length === 0));
console.log(same ? "As described: only the Python SDKs ping." : "CHANGED.");
python.stderr.unpipe();
python.kill();
process.exit(same ? 0 : 1);
EOF
node show.mjs
