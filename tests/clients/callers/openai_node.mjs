// A client with the openai SDK for Node: `node openai_node.mjs https://…/v1` runs the steps and prints outcomes as JSON.
// `tools/clients.py` runs it next to the SDK. The steps, and their conditions for a pass, are those of tests/clients/steps.py.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const BYTES_PER_MS = 48;
const CHUNK_BYTES = 4800;
const GUARD_MS = 60_000;
const VAD = { type: "server_vad", silence_duration_ms: 200 };
const MANUAL = { type: "realtime", audio: { input: { turn_detection: null } } };
const CALLER = { type: "realtime", audio: { input: { turn_detection: VAD } } };
const number = { type: "string", example: "RX 17" };
const parameters = { type: "object", properties: { number }, required: ["number"] };
const TOOLS = { tools: [{ type: "function", name: "find_parcel", parameters }] };
const AUDIO_DELTA = "response.output_audio.delta";

/** A session that returns its events one after another. */
class Talk {
  #events = [];
  #wake = () => {};

  constructor(client) {
    this.connection = new OpenAIRealtimeWS({ model: "gpt-realtime" }, client);
    this.connection.on("event", (event) => this.#take(event));
    this.connection.on("error", (error) => error.error || this.#take({ type: "error", error }));
  }

  #take(event) {
    this.#events.push(event);
    this.#wake();
  }

  async until(last) {
    const seen = [];
    for (;;) {
      while (!this.#events.length) await new Promise((wake) => (this.#wake = wake));
      seen.push(this.#events.shift());
      if (seen.at(-1).type === last) return seen;
      assert.notEqual(seen.at(-1).type, "error", JSON.stringify(seen.at(-1)));
    }
  }

  async done() {
    const events = await this.until("response.done");
    return [events.at(-1).response, events];
  }

  send(type, more = {}) {
    this.connection.send({ type, ...more });
  }

  async settle(...settings) {
    await this.until("session.created");
    this.send("session.update", { session: Object.assign({}, ...settings) });
    await this.until("session.updated");
  }

  ask(response) {
    const content = [{ type: "input_text", text: "Where is my parcel?" }];
    this.send("conversation.item.create", { item: { type: "message", role: "user", content } });
    this.send("response.create", response ? { response } : {});
  }

  speak(...parts) {
    const audio = Buffer.concat(parts.map((ms, place) => sound(ms, place % 2 ? 0 : 3277)));
    for (let begin = 0; begin < audio.length; begin += CHUNK_BYTES)
      this.send("input_audio_buffer.append", { audio: audio.subarray(begin, begin + CHUNK_BYTES).toString("base64") });
  }
}

function sound(ms, amplitude) {
  const audio = Buffer.alloc(ms * BYTES_PER_MS);
  for (let place = 0; place < audio.length / 2; place++)
    audio.writeInt16LE(Math.floor(place / 200) % 2 ? amplitude : -amplitude, 2 * place);
  return audio;
}

const heard = (events) => events.some((event) => event.type === AUDIO_DELTA && event.delta);

const STEPS = {
  async connect(talk) {
    assert.ok((await talk.until("session.created")).at(-1).session.id);
  },
  async text(talk) {
    await talk.settle(MANUAL);
    await typed(talk);
  },
  async "manual audio"(talk) {
    await talk.settle(MANUAL);
    talk.speak(1000);
    talk.send("input_audio_buffer.commit");
    talk.send("response.create");
    const [response, events] = await talk.done();
    assert.equal(response.status, "completed");
    assert.equal(response.usage.input_token_details.audio_tokens, 10);
    assert.ok(heard(events));
  },
  async VAD(talk) {
    await talk.settle(CALLER);
    talk.speak(0, 100, 400, 400);
    const [response, events] = await talk.done();
    const names = events.map((event) => event.type).filter((name) => name.startsWith("input_audio_buffer."));
    assert.deepEqual(names, ["speech_started", "speech_stopped", "committed"].map((name) => `input_audio_buffer.${name}`));
    assert.equal(response.status, "completed");
    assert.ok(heard(events));
  },
  async interruption(talk) {
    await talk.settle(CALLER);
    talk.ask();
    const { item_id } = (await talk.until(AUDIO_DELTA)).at(-1);
    talk.speak(300);
    const [response] = await talk.done();
    assert.equal(response.status_details?.reason, "turn_detected");
    talk.send("conversation.item.truncate", { item_id, content_index: 0, audio_end_ms: 60 });
    assert.equal((await talk.until("conversation.item.truncated")).at(-1).audio_end_ms, 60);
  },
  async "function call"(talk) {
    await talk.settle(MANUAL, TOOLS);
    talk.ask();
    const [{ output: [call] }] = await talk.done();
    assert.deepEqual([call.name, call.arguments], ["find_parcel", '{"number":"RX 17"}']);
    const item = { type: "function_call_output", call_id: call.call_id, output: "It is on its way." };
    talk.send("conversation.item.create", { item });
    talk.send("response.create");
    const [{ output }] = await talk.done();
    assert.deepEqual(output.map((item) => item.type), ["message"]);
  },
  async cancel(talk) {
    await talk.settle(MANUAL);
    talk.ask();
    await talk.until(AUDIO_DELTA);
    talk.send("response.cancel");
    const [response] = await talk.done();
    assert.equal(response.status_details?.reason, "client_cancelled");
  },
  async "invalid event"(talk) {
    await talk.settle(MANUAL);
    talk.send("conversation.item.invent", { event_id: "mine" });
    const { error } = (await talk.until("error")).at(-1);
    assert.deepEqual([error.type, error.event_id], ["invalid_request_error", "mine"]);
    await typed(talk);
  },
};

async function typed(talk) {
  talk.ask({ output_modalities: ["text"] });
  const [response, events] = await talk.done();
  const words = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.equal(response.status, "completed");
  assert.ok(words.length);
  assert.equal(response.output[0].content[0].text, words.join(""));
}

async function outcome(step) {
  const talk = new Talk(new OpenAI({ apiKey: "any", baseURL: process.argv[2] }));
  const late = new Promise((_, reject) => setTimeout(reject, GUARD_MS, new Error("nothing more came")).unref());
  try {
    await Promise.race([STEPS[step](talk), late]);
    return "pass";
  } catch (error) {
    return error.message;
  } finally {
    talk.connection.close();
  }
}

const outcomes = {};
for (const step of Object.keys(STEPS)) outcomes[step] = await outcome(step);
console.log(JSON.stringify(outcomes));
process.exit(0);
