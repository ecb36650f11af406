#!/bin/sh
# Software: @azure/ai-voicelive 1.1.0 (npm, Node.js 20), and azure-ai-voicelive 1.3.1 (PyPI) for comparison.
# Expected: `conversation.item.retrieve` returns a turn of the caller with its audio, however long the caller spoke.
# Seen:     the JavaScript client accepts at most 1 MiB per message and has no option for more. A turn of 16 s (24 kHz PCM in
#           base64) arrives. A turn of 17 s closes the call with code 1009, and the session is "permanently dead". The Python
#           client receives both.
# Why:      a tool that checks what the service heard retrieves the turns. It works in tests with short turns, and in
#           production it hangs up on the callers that speak the longest. To the service this is a close by the client.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @azure/ai-voicelive@1.1.0 @azure/core-auth@1.10.1 ws@8.23.0
    python3 -m venv venv && venv/bin/pip install azure-ai-voicelive==1.3.1 aiohttp==3.14.5
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >client.py <<'EOF'
import asyncio
import sys

from azure.ai.voicelive.aio import connect
from azure.core.credentials import AzureKeyCredential


async def main():
    key = AzureKeyCredential("key")
    async with connect(endpoint=sys.argv[1], credential=key, model="gpt-realtime") as connection:
        await connection.recv()
        await connection.conversation.item.retrieve(item_id=sys.argv[2])
        print((await connection.recv()).type, end="")


asyncio.run(main())
EOF

cat >show.mjs <<'EOF'
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { promisify } from "node:util";
import { VoiceLiveClient } from "@azure/ai-voicelive";
import { AzureKeyCredential } from "@azure/core-auth";
import { WebSocketServer } from "ws";

// The item "turn-N" is a turn of the caller of N seconds: PCM, 16 bits, 24,000 samples per second.
const turn = (id) => ({
    id,
    object: "realtime.item",
    type: "message",
    role: "user",
    status: "completed",
    content: [{
        type: "input_audio",
        transcript: "hello",
        audio: Buffer.alloc(Number(id.slice(5)) * 24000 * 2).toString("base64"),
    }],
});

const http = createServer();
const closes = [];
new WebSocketServer({ server: http }).on("connection", (socket) => {
    const session = { id: "session-1", object: "realtime.session", model: "gpt-realtime" };
    socket.send(JSON.stringify({ type: "session.created", event_id: "event-1", session }));
    socket.on("message", (text) => {
        const event = JSON.parse(text);
        if (event.type !== "conversation.item.retrieve") return;
        const item = turn(event.item_id);
        socket.send(JSON.stringify({ type: "conversation.item.retrieved", event_id: "event-2", item }));
    });
    socket.on("close", (code) => closes.push(code));
});
http.listen(0, "127.0.0.1");
await once(http, "listening");
const endpoint = `http://127.0.0.1:${http.address().port}`;

async function javascript(id) {
    const session = new VoiceLiveClient(endpoint, new AzureKeyCredential("key")).createSession("gpt-realtime");
    const outcome = await new Promise((resolve, reject) => {
        session.subscribe({
            onServerEvent: async (event) => {
                if (event.type === "conversation.item.retrieved") resolve(event.type);
            },
            onError: async ({ error }) => resolve(error.message),
        });
        session.connect()
            .then(() => session.sendEvent({ type: "conversation.item.retrieve", itemId: id }))
            .catch(reject);
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const later = await session.sendAudio(new Uint8Array(960)).then(() => "goes on", (error) => error.message);
    await session.dispose();
    return `${outcome}; call: ${later}`;
}

const python = async (id) =>
    (await promisify(execFile)("venv/bin/python", ["client.py", endpoint, id])).stdout;

const seen = {};
for (const id of ["turn-16", "turn-17"]) {
    for (const [name, client] of Object.entries({ javascript, python })) {
        closes.length = 0;
        seen[`${name} ${id}`] = await client(id);
        await new Promise((resolve) => setTimeout(resolve, 300));
        console.log(`${name}, ${id.slice(5)} s: ${seen[`${name} ${id}`]}; close code at the server: ${closes}`);
    }
}
const arrived = (key) => seen[key].startsWith("conversation.item.retrieved");
const same = arrived("javascript turn-16") && arrived("python turn-16") && arrived("python turn-17")
    && seen["javascript turn-17"].includes("Max payload size exceeded");
console.log(same ? "As described: a turn of 17 s ends the call of the JavaScript client." : "CHANGED.");
process.exit(same ? 0 : 1);
EOF
node show.mjs
