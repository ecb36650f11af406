#!/bin/sh
# Software: @elevenlabs/client 1.25.0 (npm, Node.js 20) over its WebSocket, against elevenlabs 2.78.0 (PyPI).
# Expected: an `interruption` has the `event_id` of the last audio of the interrupted reply. Audio with this id, or an earlier
#           one, that was still on its way is not played. So does the Python SDK, and so do the JavaScript SDK's `onAudio`
#           (earlier ids) and its mode.
# Seen:     the JavaScript SDK passes all audio to its speaker: `playAudio` gets each `audio` event, whatever its id, and ends the
#           mute that the interruption began. `onAudio` gets the piece with the same id, too, and not the earlier ones.
# Why:      in a browser, the caller hears the agent go on after it was interrupted, and a recording made with `onAudio` does not
#           have that sound. The same agent stops at once in Python, so the two cannot be compared by their barge-in.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @elevenlabs/client@1.25.0 ws@8.23.0 &&
        python3 -m venv py && py/bin/pip install elevenlabs==2.78.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'END'
import base64
import sys
import time

from elevenlabs.client import ElevenLabs
from elevenlabs.conversational_ai.conversation import AudioInterface, Conversation


class Speaker(AudioInterface):
    played = []

    def start(self, input_callback):
        pass

    def stop(self):
        pass

    def output(self, audio):
        self.played.append(audio.decode())

    def interrupt(self):
        self.played.append("interrupt")


speaker = Speaker()
client = ElevenLabs(base_url=f"http://127.0.0.1:{sys.argv[1]}", api_key="any")
call = Conversation(client, "agent", requires_auth=False, audio_interface=speaker)
call.start_session()
for _ in range(200):
    if "next reply" in speaker.played:
        break
    time.sleep(0.05)
call.end_session()
call.wait_for_session_end()
print("Python, speaker:     ", ", ".join(speaker.played))
END

cat >show.mjs <<'END'
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket, WebSocketServer } from "ws";

globalThis.WebSocket ??= WebSocket;
const from = (name) => import(new URL(`./node_modules/@elevenlabs/client/dist/${name}.js`, import.meta.url));
const { WebSocketConnection } = await from("utils/WebSocketConnection");
const { attachConnectionToOutput } = await from("utils/attachConnectionToOutput");
const { VoiceConversation } = await from("VoiceConversation");

const audio = (event_id, text) => ({
    type: "audio",
    audio_event: { event_id, audio_base_64: Buffer.from(text).toString("base64") },
});
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: (names) => [...names][0] ?? false });
await once(server, "listening");
const { port } = server.address();
server.on("connection", async (socket) => {
    const send = (event) => socket.send(JSON.stringify(event));
    send({
        type: "conversation_initiation_metadata",
        conversation_initiation_metadata_event: {
            conversation_id: "conv_1",
            agent_output_audio_format: "pcm_16000",
            user_input_audio_format: "pcm_16000",
        },
    });
    await sleep(300);
    send(audio(1, "reply"));
    send({ type: "interruption", interruption_event: { event_id: 2 } });
    send(audio(1, "late (id 1)"));
    send(audio(2, "late (id 2)"));
    await sleep(300);
    send(audio(3, "next reply"));
});

const played = [];
const heard = [];
const text = (bytes) => Buffer.from(bytes).toString();
const output = { playAudio: (bytes) => played.push(text(bytes)), interrupt: () => played.push("interrupt"), close() {} };
const options = { onAudio: (base64) => heard.push(text(Buffer.from(base64, "base64"))) };
const connection = await WebSocketConnection.create({ agentId: "agent", origin: `ws://127.0.0.1:${port}` });
attachConnectionToOutput(connection, output); // as its VoiceSessionSetup does
new VoiceConversation(options, connection, { close() {} }, output, null, async () => {});
for (let n = 0; n < 200 && !played.includes("next reply"); n++) await sleep(50);
console.log("JavaScript, speaker: ", played.join(", "));
console.log("JavaScript, onAudio: ", heard.join(", "));
await once(spawn("py/bin/python", ["show.py", port], { stdio: "inherit" }), "exit");
const late = played.filter((piece) => piece.startsWith("late"));
console.log(`the speaker got ${late.length} of 2 late pieces, after the interruption`);
process.exit(late.length === 2 ? 0 : 1);
END
node show.mjs
