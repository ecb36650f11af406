#!/bin/sh
# Software: openai-agents 0.24.0 (PyPI, Python) and @openai/agents-realtime 0.20.0 (npm, Node.js 20), default settings.
# Expected: the transcript of the caller's turn is text. On receiving it, an SDK updates its history.
# Seen:     on each transcript, both SDKs send `conversation.item.retrieve`, and a service that answers as documented sends audio
#           again. The JavaScript SDK retrieves the turn of the caller. The Python SDK retrieves the latest reply of the agent,
#           which the transcript is not about. Here, after a turn of 5 s and a reply of 3 s, 320 kB and 192 kB come a second time.
# Why:      the traffic to the client doubles or more, in one message that can arrive in the middle of the next reply and delays
#           its audio on a slow line. A load generator that does not make these requests puts less traffic on the service than
#           the application does.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @openai/agents-realtime@0.20.0 @openai/agents-core@0.20.0 zod@4.6.7 ws@8.23.0
    python3 -m venv venv && venv/bin/pip install openai-agents==0.24.0 openai==3.57.0 websockets==16.1.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >client.py <<'EOF'
import asyncio
import sys

from agents.realtime import RealtimeAgent, RealtimeRunner


async def main():
    runner = RealtimeRunner(RealtimeAgent(name="agent", instructions="Help."))
    config = {"api_key": "key", "url": sys.argv[1], "initial_model_settings": {"tracing": None}}
    async with await runner.run(model_config=config) as session:
        await session.send_audio(bytes(5 * 24_000 * 2))
        async for event in session:
            if event.type == "error":
                print("error:", event.error)


asyncio.run(main())
EOF

cat >show.mjs <<'EOF'
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import { WebSocketServer } from "ws";

const pcm = (seconds) => Buffer.alloc(seconds * 24000 * 2);
const format = { type: "audio/pcm", rate: 24000 };
const message = { object: "realtime.item", type: "message", status: "completed" };
const turn = {
    ...message,
    id: "turn-1",
    role: "user",
    content: [{ type: "input_audio", transcript: "hello", audio: pcm(5).toString("base64") }],
};
const reply = {
    ...message,
    id: "reply-1",
    role: "assistant",
    content: [{ type: "output_audio", transcript: "good day", audio: pcm(3).toString("base64") }],
};
const without = (item) => ({ ...item, content: item.content.map(({ audio, ...part }) => part) });

async function serve(socket, retrieved) {
    let events = 0;
    const send = (event) => {
        const text = JSON.stringify({ event_id: `event-${events++}`, ...event });
        socket.send(text);
        return text.length;
    };
    const session = { type: "realtime", object: "realtime.session", id: "session-1", model: "gpt-realtime" };
    const heard = new Promise((resolve) => {
        socket.on("message", (text) => {
            const event = JSON.parse(text);
            if (event.type === "session.update") {
                send({ type: "session.updated", session: { ...session, ...event.session } });
            } else if (event.type === "input_audio_buffer.append") {
                resolve();
            } else if (event.type === "conversation.item.retrieve") {
                const item = { [turn.id]: turn, [reply.id]: reply }[event.item_id];
                const bytes = send({ type: "conversation.item.retrieved", item });
                retrieved.push({ id: item.id, bytes });
            }
        });
    });
    send({ type: "session.created", session: { ...session, audio: { output: { format } } } });
    await heard;
    send({ type: "input_audio_buffer.speech_started", audio_start_ms: 0, item_id: turn.id });
    send({ type: "input_audio_buffer.speech_stopped", audio_end_ms: 5000, item_id: turn.id });
    send({ type: "input_audio_buffer.committed", item_id: turn.id, previous_item_id: null });
    send({ type: "conversation.item.added", item: without(turn), previous_item_id: null });

    const response = { id: "response-1", object: "realtime.response", output: [] };
    const ids = { response_id: "response-1", output_index: 0 };
    send({ type: "response.created", response: { ...response, status: "in_progress" } });
    const added = { ...reply, status: "in_progress", content: [] };
    send({ type: "response.output_item.added", ...ids, item: added });
    const part = { ...ids, item_id: reply.id, content_index: 0 };
    let bytes = 0;
    for (let i = 0; i < 15; i++) {
        const delta = pcm(0.2).toString("base64");
        bytes += send({ type: "response.output_audio.delta", ...part, delta });
    }
    send({ type: "response.output_audio.done", ...part });
    send({ type: "response.output_item.done", ...ids, item: without(reply) });
    send({ type: "response.done", response: { ...response, status: "completed" } });
    await sleep(500);
    send({
        type: "conversation.item.input_audio_transcription.completed",
        item_id: turn.id,
        content_index: 0,
        transcript: "hello",
        usage: { type: "duration", seconds: 5 },
    });
    await sleep(1000);
    return bytes;
}

const http = createServer();
const server = new WebSocketServer({ server: http });
http.listen(0, "127.0.0.1");
await once(http, "listening");
const url = `ws://127.0.0.1:${http.address().port}/`;

async function javascript() {
    const session = new RealtimeSession(new RealtimeAgent({ name: "agent", instructions: "Help." }), {
        transport: "websocket",
        tracingDisabled: true,
    });
    await session.connect({ apiKey: "key", url });
    session.sendAudio(new Uint8Array(pcm(5)).buffer);
}

function python() {
    const environment = { ...process.env, OPENAI_AGENTS_DISABLE_TRACING: "1" };
    const child = execFile("venv/bin/python", ["client.py", url], { env: environment });
    child.stdout.pipe(process.stdout);
    child.stderr.pipe(process.stderr);
    return () => child.kill();
}

const seen = {};
for (const [name, client] of Object.entries({ javascript, python })) {
    const retrieved = [];
    const served = new Promise((resolve, reject) => {
        server.once("connection", (socket) => serve(socket, retrieved).then(resolve, reject));
    });
    const stop = await client();
    const bytes = await served;
    stop?.();
    seen[name] = retrieved;
    const again = retrieved.map((each) => `${each.id} (${each.bytes} bytes)`).join(", ");
    console.log(`${name}: audio of the reply ${bytes} bytes; retrieved after the transcript of turn-1: ${again}`);
}
const only = (name, id) => seen[name].length === 1 && seen[name][0].id === id;
const same = only("javascript", "turn-1") && only("python", "reply-1");
console.log(same ? "As described: each transcript fetches audio again." : "CHANGED.");
process.exit(same ? 0 : 1);
EOF
node show.mjs
