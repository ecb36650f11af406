// A conversation by @memberjunction/ai-assemblyai with the simulated Voice Agent: spoken,
// interrupted, and a function call.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AssemblyAIRealtime, ASSEMBLYAI_AGENT_WS_URL } from "@memberjunction/ai-assemblyai";
import { WebSocket } from "ws";

globalThis.WebSocket ??= WebSocket; // before Node 22

const [port, wav] = process.argv.slice(2);
const CHUNK_MS = 100;
const SPOKEN_MS = 900; // from the start of a reply to the speech that interrupts it
const LIMIT_MS = 300_000;
const audio = readFileSync(wav).subarray(44);
const RATE_HZ = 24_000;
const SOURCE_HZ = 16_000;

class Here extends AssemblyAIRealtime {
  connectAgentSocket(args) {
    const Url = args.Url.replace(ASSEMBLYAI_AGENT_WS_URL, `ws://127.0.0.1:${port}/v1/ws`);
    return super.connectAgentSocket({ ...args, Url });
  }
}

function resampled(bytes) {
  const from = new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const count = Math.floor((from.length * RATE_HZ) / SOURCE_HZ);
  return Int16Array.from({ length: count }, (_, at) => from[Math.floor((at * SOURCE_HZ) / RATE_HZ)]);
}

const words = resampled(audio.subarray(0, audio.length & ~1));
const seen = { audio: 0, heard: "", said: "", interrupted: 0, calls: [] };
const tools = [
  {
    Name: "find_parcel",
    Description: "Find a parcel.",
    ParametersSchema: { type: "object", properties: { order: { type: "string" } } },
  },
];

async function conversation(Tools) {
  const session = await new Here("any").StartSession({ SystemPrompt: "Be brief.", Model: "", Tools });
  session.OnOutput((chunk) => (seen.audio += chunk.byteLength));
  session.OnTranscript((t) => (seen[t.Role === "user" ? "heard" : "said"] += t.Text));
  session.OnInterruption(() => seen.interrupted++);
  session.OnError((error) => fail(`error: ${error.Message}`));
  session.OnToolCall((call) => {
    seen.calls.push(call.ToolName);
    session.SendToolResult(call.CallID, '{"place": "depot"}');
  });
  const step = (RATE_HZ * CHUNK_MS) / 1000;
  const line = { queue: new Int16Array(0) };
  line.timer = setInterval(() => {
    const piece = new Int16Array(step);
    piece.set(line.queue.subarray(0, step));
    line.queue = line.queue.subarray(step);
    session.SendInput(piece.buffer);
  }, CHUNK_MS);
  return { session, line };
}

function fail(why) {
  console.log(why, seen);
  process.exit(1);
}

async function until(what, happened) {
  for (const end = Date.now() + LIMIT_MS; !happened(); await sleep(20)) {
    if (Date.now() > end) fail(`not ${what}`);
  }
  console.log(what);
}

const plain = await conversation([]);
plain.line.queue = words;
await until("answered", () => seen.audio > 0 && seen.heard);
await sleep(SPOKEN_MS);
plain.line.queue = words;
await until("interrupted", () => seen.interrupted === 1);
await until("answered to the end", () => seen.said);
clearInterval(plain.line.timer);
await plain.session.Close();
const calling = await conversation(tools);
calling.line.queue = words;
await until("called", () => seen.calls.includes("find_parcel"));
clearInterval(calling.line.timer);
await calling.session.Close();
process.exit(0);
