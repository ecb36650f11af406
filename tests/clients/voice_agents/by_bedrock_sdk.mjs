// A conversation by @aws-sdk/client-bedrock-runtime with the simulated Nova Sonic: typed, spoken, interrupted, and a
// tool. `send` resolves when the first event of the response has arrived, so the client sends before that.

import { readFileSync } from "node:fs";
import { BedrockRuntimeClient, InvokeModelWithBidirectionalStreamCommand } from "@aws-sdk/client-bedrock-runtime";
import { NodeHttp2Handler } from "@smithy/node-http-handler";

const [port, wav, secret = "any"] = process.argv.slice(2);
const CHUNK_MS = 32;
const CHUNK_BYTES = 16 * 2 * CHUNK_MS; // 1,024 bytes: 32 ms of 16 kHz
const SPOKEN_MS = 900; // from a text to the speech that interrupts its reply
const PLAYED_MS = 500; // in which a caller hears the end of a reply
const LPCM = { mediaType: "audio/lpcm", sampleSizeBits: 16, channelCount: 1, encoding: "base64", audioType: "SPEECH" };
const PLAIN = { mediaType: "text/plain" };
const TOOL = {
  name: "find_parcel",
  description: "Find a parcel.",
  inputSchema: { json: '{"type": "object", "properties": {"order": {"type": "string"}}}' },
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Conversation {
  queue = [];
  blocks = 0;
  wake = () => {};

  send(event) {
    this.queue.push(event === null ? null : { chunk: { bytes: Buffer.from(JSON.stringify({ event })) } });
    this.wake();
  }

  async *body() {
    for (;;) {
      while (this.queue.length === 0) await new Promise((resolve) => (this.wake = resolve));
      const part = this.queue.shift();
      if (part === null) return;
      yield part;
    }
  }

  block(content, text, start) {
    const names = { promptName: "p", contentName: `block-${(this.blocks += 1)}` };
    this.send({ contentStart: { ...names, ...start } });
    this.send({ [content]: { ...names, content: text } });
    this.send({ contentEnd: names });
  }

  type(text, role = "USER", interactive = true) {
    this.block("textInput", text, { type: "TEXT", role, interactive, textInputConfiguration: PLAIN });
  }

  begin(tools) {
    this.send({ sessionStart: { inferenceConfiguration: { maxTokens: 1024, topP: 0.9, temperature: 0.7 } } });
    const audioOutputConfiguration = { ...LPCM, sampleRateHertz: 24000, voiceId: "matthew" };
    const toolConfiguration = { tools: tools.map((toolSpec) => ({ toolSpec })) };
    const prompt = { promptName: "p", textOutputConfiguration: PLAIN, audioOutputConfiguration };
    this.send({ promptStart: tools.length ? { ...prompt, toolConfiguration } : prompt });
    this.type("You are brief.", "SYSTEM", false);
    const audioInputConfiguration = { ...LPCM, sampleRateHertz: 16000 };
    const audio = { promptName: "p", contentName: "a", type: "AUDIO", role: "USER", interactive: true };
    this.send({ contentStart: { ...audio, audioInputConfiguration } });
  }

  // what the service sends until a reply has ended
  async turn() {
    const seen = { audio: 0, said: "", heard: "", interrupted: 0, calls: [] };
    const stages = {};
    for (;;) {
      const { value, done } = await this.events.next();
      if (done || !value.chunk) throw new Error(`the connection has ended: ${JSON.stringify([seen, value])}`);
      const [[name, fields]] = Object.entries(JSON.parse(Buffer.from(value.chunk.bytes).toString()).event);
      if (name === "contentStart") stages[fields.contentId] = fields.additionalModelFields;
      if (name === "audioOutput") seen.audio += Buffer.from(fields.content, "base64").length;
      if (name === "toolUse") {
        seen.calls.push(fields.toolName);
        const result = { toolUseId: fields.toolUseId, type: "TEXT", textInputConfiguration: PLAIN };
        this.block("toolResult", '{"place": "depot"}', { type: "TOOL", role: "TOOL", toolResultInputConfiguration: result });
      }
      if (name === "textOutput") {
        if (fields.role === "USER") seen.heard += fields.content;
        else if (fields.content === '{ "interrupted" : true }') seen.interrupted += 1;
        else if (stages[fields.contentId].includes("FINAL")) seen.said += fields.content;
      }
      if (name === "contentEnd" && fields.type === "TEXT" && fields.stopReason === "END_TURN") return seen;
    }
  }

  // sends audio at the pace of a microphone, and then silence until the turn is over
  async spoken(audio) {
    let isOver = false;
    const microphone = async () => {
      for (let at = 0; !isOver; at += CHUNK_BYTES) {
        const piece = at + CHUNK_BYTES <= audio.length ? audio.subarray(at, at + CHUNK_BYTES) : Buffer.alloc(CHUNK_BYTES);
        this.send({ audioInput: { promptName: "p", contentName: "a", content: piece.toString("base64") } });
        await sleep(CHUNK_MS);
      }
    };
    const speaking = microphone();
    const seen = await this.turn();
    isOver = true;
    await speaking;
    return seen;
  }

  end() {
    this.send({ contentEnd: { promptName: "p", contentName: "a" } });
    this.send({ promptEnd: { promptName: "p" } });
    this.send({ sessionEnd: {} });
    this.send(null);
  }
}

function check(label, seen, expected = {}) {
  console.log(label, JSON.stringify(seen));
  const wrong = Object.entries(expected).filter(([name, value]) => JSON.stringify(seen[name]) !== JSON.stringify(value));
  if (seen.audio < 10000 || !seen.said || wrong.length) throw new Error(`${label}: ${wrong}`);
}

const audio = readFileSync(wav).subarray(44);
const client = new BedrockRuntimeClient({
  endpoint: `http://127.0.0.1:${port}`,
  region: "us-east-1",
  credentials: { accessKeyId: "AKIAEXAMPLE", secretAccessKey: secret },
  requestHandler: new NodeHttp2Handler(),
});
for (const tools of [[], [TOOL]]) {
  const call = new Conversation();
  call.begin(tools);
  call.type(tools.length ? "Where is it?" : "Hello!");
  const command = new InvokeModelWithBidirectionalStreamCommand({ modelId: "amazon.nova-2-sonic-v1:0", body: call.body() });
  const response = await client.send(command);
  call.events = response.body[Symbol.asyncIterator]();
  if (tools.length) {
    check("tool", await call.turn(), { calls: ["find_parcel"] });
  } else {
    check("typed", await call.turn(), { interrupted: 0 });
    await sleep(PLAYED_MS);
    check("spoken", await call.spoken(audio), { interrupted: 0 });
    await sleep(PLAYED_MS);
    call.type("Tell me everything.");
    await sleep(SPOKEN_MS);
    check("interrupted", await call.spoken(audio), { interrupted: 1 });
  }
  call.end();
  while (!(await call.events.next()).done);
}
client.destroy();
