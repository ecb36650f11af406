// A client with @google/genai: `node google_genai_node.mjs https://…` runs the steps, and prints outcomes as JSON.
// `tools/clients.py` runs it next to the SDK. The steps are those of google_genai.py.
import assert from "node:assert/strict";
import { GoogleGenAI, Modality, Type } from "@google/genai";

const BYTES_PER_MS = 32; // pcm16 at 16 kHz
const CHUNK_BYTES = 3200;
const GUARD_MS = 60_000;
const MANUAL = { realtimeInputConfig: { automaticActivityDetection: { disabled: true } } };
const parameters = { type: Type.OBJECT, properties: { order: { type: Type.STRING } }, required: ["order"] };
const TOOLS = { tools: [{ functionDeclarations: [{ name: "find_parcel", parameters }] }] };
const client = new GoogleGenAI({ apiKey: "any", httpOptions: { baseUrl: process.argv[2] } });

/** A session whose messages are read one after another. */
class Talk {
  #messages = [];
  #wake = () => {};

  async open(settings) {
    const callbacks = { onmessage: (message) => this.#take(message), onerror: (error) => this.#take({ error }) };
    callbacks.onclose = (event) => this.#take({ error: new Error(`closed: ${event.code} ${event.reason}`) });
    const config = {
      responseModalities: [Modality.AUDIO],
      inputAudioTranscription: {},
      outputAudioTranscription: {},
      ...settings,
    };
    this.session = await client.live.connect({ model: "gemini-3.8-live", config, callbacks });
  }

  #take(message) {
    this.#messages.push(message);
    this.#wake();
  }

  async next() {
    while (!this.#messages.length) await new Promise((wake) => (this.#wake = wake));
    const message = this.#messages.shift();
    if (message.error) throw message.error;
    return message;
  }

  /** Return what the service sends until its turn is complete. With `interrupts`, speak into the first audio. */
  async turn(interrupts = false) {
    const seen = { audio: 0, text: "", heard: "", interrupted: false, calls: [] };
    for (;;) {
      const { data, serverContent, toolCall } = await this.next();
      seen.audio += (data ?? "").length;
      if (interrupts && seen.audio) {
        interrupts = false;
        this.speak(300);
      }
      seen.text += serverContent?.outputTranscription?.text ?? "";
      seen.heard += serverContent?.inputTranscription?.text ?? "";
      seen.interrupted ||= serverContent?.interrupted ?? false;
      if (toolCall) {
        seen.calls.push(...toolCall.functionCalls.map((call) => call.name));
        const answer = ({ id, name }) => ({ id, name, response: { at: "depot" } });
        this.session.sendToolResponse({ functionResponses: toolCall.functionCalls.map(answer) });
      }
      if (serverContent?.turnComplete) return seen;
    }
  }

  speak(loudMs, silentMs = 0) {
    const audio = Buffer.alloc((loudMs + silentMs) * BYTES_PER_MS);
    for (let place = 0; place < (loudMs * BYTES_PER_MS) / 2; place++)
      audio.writeInt16LE(Math.floor(place / 133) % 2 ? 3277 : -3277, 2 * place);
    for (let begin = 0; begin < audio.length; begin += CHUNK_BYTES) {
      const data = audio.subarray(begin, begin + CHUNK_BYTES).toString("base64");
      this.session.sendRealtimeInput({ audio: { data, mimeType: "audio/pcm;rate=16000" } });
    }
  }
}

function check(seen, expected = {}) {
  assert.ok(seen.audio, JSON.stringify(seen));
  const { interrupted, calls } = seen;
  assert.deepEqual({ interrupted, calls }, { interrupted: false, calls: [], ...expected });
}

const STEPS = {
  connect: [{}, async (talk) => assert.ok(talk.session)],
  text: [{}, async (talk) => {
    talk.session.sendRealtimeInput({ text: "Hello!" });
    check(await talk.turn());
    talk.session.sendClientContent({ turns: "And now?", turnComplete: true });
    check(await talk.turn());
  }],
  "manual audio": [MANUAL, async (talk) => {
    talk.session.sendRealtimeInput({ activityStart: {} });
    talk.speak(1000);
    talk.session.sendRealtimeInput({ activityEnd: {} });
    check(await talk.turn());
  }],
  VAD: [{}, async (talk) => {
    talk.speak(400, 700);
    const seen = await talk.turn();
    check(seen);
    assert.ok(seen.heard);
  }],
  interruption: [{}, async (talk) => {
    talk.session.sendRealtimeInput({ text: "Tell me everything." });
    check(await talk.turn(true), { interrupted: true });
    talk.speak(0, 700);
    check(await talk.turn());
  }],
  "function call": [TOOLS, async (talk) => {
    talk.session.sendRealtimeInput({ text: "Where is it?" });
    check(await talk.turn(), { calls: ["find_parcel"] });
  }],
};

async function outcome(step) {
  const [settings, play] = STEPS[step];
  const talk = new Talk();
  const late = new Promise((_, reject) => setTimeout(reject, GUARD_MS, new Error("nothing more came")).unref());
  try {
    await Promise.race([talk.open(settings).then(() => play(talk)), late]);
    return "pass";
  } catch (error) {
    return error.message;
  } finally {
    talk.session?.close();
  }
}

const outcomes = {};
for (const step of Object.keys(STEPS)) outcomes[step] = await outcome(step);
console.log(JSON.stringify(outcomes));
process.exit(0);
