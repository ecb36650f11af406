#!/bin/sh
# Software: @openai/agents-realtime 0.20.0 (npm, Node.js 20), WebSocket, `interruptResponse: false` (the client cancels).
# Expected: a caller interrupts a reply after 1.5 s. The SDK truncates the reply once, at 1,500 ms, whatever the caller says next.
# Seen:     it does. But deltas of the same reply that were on their way when the client cancelled start a second count at zero.
#           The application still gets them as audio, after the event `audio_interrupted`. When the caller speaks again 0.7 s
#           later, the SDK truncates the same reply again, at about 680 ms.
# Why:      "wait ... no" is two starts of speech. Of the 1.5 s that the caller heard, the conversation keeps 0.7 s, so the model
#           no longer knows what it said. Who derives the time of the interruption from the truncated length gets 0.8 s too
#           little.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @openai/agents-realtime@0.20.0 @openai/agents-core@0.20.0 zod@4.6.7 ws@8.23.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.mjs <<'EOF'
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import { WebSocketServer } from "ws";

const ONE_WAY_MS = 100; // delay of the network, applied at the server in both directions
const DELTA_MS = 400; // audio per delta; one delta each 50 ms, as models speak faster than they are played
const ids = { response_id: "response-1", item_id: "reply-1", output_index: 0, content_index: 0 };
const pcm = { type: "audio/pcm", rate: 24000 };

const started = Date.now();
const note = (text) => console.log(`${String(Date.now() - started).padStart(5)} ms  ${text}`);
const truncations = [];
let isCancelled = false;
let events = 0;

async function serve(socket) {
    const send = async (event) => {
        await sleep(ONE_WAY_MS);
        socket.send(JSON.stringify({ event_id: `event-${events++}`, ...event }));
    };
    const session = { type: "realtime", object: "realtime.session", id: "session-1", model: "gpt-realtime" };
    socket.on("message", async (text) => {
        const event = JSON.parse(text);
        await sleep(ONE_WAY_MS);
        if (event.type === "session.update") {
            await send({ type: "session.updated", session: { ...session, ...event.session } });
        } else if (event.type === "response.cancel") {
            isCancelled = true;
        } else if (event.type === "conversation.item.truncate") {
            const { item_id, content_index, audio_end_ms } = event;
            truncations.push(audio_end_ms);
            note(`server: truncate ${item_id} at ${audio_end_ms} ms`);
            await send({ type: "conversation.item.truncated", item_id, content_index, audio_end_ms });
        }
    });
    await send({ type: "session.created", session: { ...session, audio: { output: { format: pcm } } } });
    await sleep(1000);

    const reply = { id: ids.item_id, object: "realtime.item", type: "message", role: "assistant", content: [] };
    const response = { id: ids.response_id, object: "realtime.response", output: [] };
    await send({ type: "response.created", response: { ...response, status: "in_progress" } });
    await send({ type: "response.output_item.added", ...ids, item: { ...reply, status: "in_progress" } });
    const speech = (async () => {
        await sleep(1500);
        note("server: the caller starts to speak");
        await send({ type: "input_audio_buffer.speech_started", audio_start_ms: 2500, item_id: "turn-1" });
        await sleep(400);
        await send({ type: "input_audio_buffer.speech_stopped", audio_end_ms: 2900, item_id: "turn-1" });
        await sleep(100);
        note("server: the caller starts to speak again");
        await send({ type: "input_audio_buffer.speech_started", audio_start_ms: 3200, item_id: "turn-2" });
    })();
    const delta = Buffer.alloc((DELTA_MS * pcm.rate * 2) / 1000).toString("base64");
    for (let i = 0; i < 100 && !isCancelled; i++) {
        void send({ type: "response.output_audio.delta", ...ids, delta });
        await sleep(50);
    }
    await send({ type: "response.output_audio.done", ...ids });
    await send({ type: "response.output_item.done", ...ids, item: { ...reply, status: "incomplete" } });
    const details = { type: "cancelled", reason: "client_cancelled" };
    await send({ type: "response.done", response: { ...response, status: "cancelled", status_details: details } });
    await speech;
}

const http = createServer();
new WebSocketServer({ server: http }).on("connection", serve);
http.listen(0, "127.0.0.1");
await once(http, "listening");

const session = new RealtimeSession(new RealtimeAgent({ name: "agent", instructions: "Help." }), {
    transport: "websocket",
    tracingDisabled: true,
    config: { audio: { input: { turnDetection: { type: "server_vad", interruptResponse: false } } } },
});
let lateMs = 0;
let isInterrupted = false;
session.on("audio_interrupted", () => { isInterrupted = true; note("client: audio_interrupted"); });
session.on("audio", ({ data }) => { if (isInterrupted) lateMs += data.byteLength / 48; });
await session.connect({ apiKey: "key", url: `ws://127.0.0.1:${http.address().port}/` });
await sleep(5000);

console.log(`audio given to the application after the interruption: ${lateMs} ms`);
console.log(`truncations of the one reply: ${truncations.join(" ms, ")} ms`);
const same = truncations.length === 2 && truncations[1] < truncations[0] - 300 && lateMs > 0;
console.log(same ? "As described: the second truncation takes back what was heard." : "CHANGED.");
process.exit(same ? 0 : 1);
EOF
node show.mjs
