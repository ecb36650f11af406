// A client with @azure/ai-voicelive: `node azure_ai_voicelive_node.mjs http://…` runs the steps, and prints outcomes as JSON.
// `tools/clients.py` runs it next to the SDK. The steps, and their conditions for a pass, are those of tests/clients/steps.py.
import assert from "node:assert/strict";
import { VoiceLiveClient } from "@azure/ai-voicelive";
import { AzureKeyCredential } from "@azure/core-auth";

const BYTES_PER_MS = 48;
const CHUNK_BYTES = 4800;
const GUARD_MS = 60_000;
const CALLER = { turnDetection: { type: "server_vad", silenceDurationInMs: 200 } };
const MANUAL = { turnDetection: null };
const number = { type: "string", example: "RX 17" };
const parameters = { type: "object", properties: { number }, required: ["number"] };
const TOOLS = { tools: [{ type: "function", name: "find_parcel", parameters }] };
const AUDIO_DELTA = "response.audio.delta";
const client = new VoiceLiveClient(process.argv[2], new AzureKeyCredential("any"));

/** A session that returns its events one after another. */
class Talk {
  #events = [];
  #wake = () => {};

  async open() {
    this.session = client.createSession("gpt-realtime");
    this.session.subscribe({ onServerEvent: async (event) => this.#take(event) });
    await this.session.connect();
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

  async settle(...settings) {
    await this.until("session.created");
    await this.session.updateSession(Object.assign({}, ...settings));
    await this.until("session.updated");
  }

  async ask(response) {
    const content = [{ type: "input_text", text: "Where is my parcel?" }];
    await this.session.addConversationItem({ type: "message", role: "user", content });
    await this.session.sendEvent({ type: "response.create", ...(response ? { response } : {}) });
  }

  async speak(...parts) {
    const audio = Buffer.concat(parts.map((ms, place) => sound(ms, place % 2 ? 0 : 3277)));
    for (let begin = 0; begin < audio.length; begin += CHUNK_BYTES)
      await this.session.sendAudio(new Uint8Array(audio.subarray(begin, begin + CHUNK_BYTES)));
  }
}

function sound(ms, amplitude) {
  const audio = Buffer.alloc(ms * BYTES_PER_MS);
  for (let place = 0; place < audio.length / 2; place++)
    audio.writeInt16LE(Math.floor(place / 200) % 2 ? amplitude : -amplitude, 2 * place);
  return audio;
}

const heard = (events) => events.some((event) => event.type === AUDIO_DELTA && event.delta.length);

const STEPS = {
  async connect(talk) {
    assert.ok((await talk.until("session.created")).at(-1).session.id);
  },
  async text(talk) {
    await talk.settle(MANUAL);
    await talk.ask({ modalities: ["text"] });
    const [response, events] = await talk.done();
    const words = events.filter((event) => event.type === "response.text.delta").map((event) => event.delta);
    assert.equal(response.status, "completed");
    assert.ok(words.length);
    assert.equal(response.output[0].content[0].text, words.join(""));
  },
  async "manual audio"(talk) {
    await talk.settle(MANUAL);
    await talk.speak(1000);
    await talk.session.sendEvent({ type: "input_audio_buffer.commit" });
    await talk.session.sendEvent({ type: "response.create" });
    const [response, events] = await talk.done();
    assert.equal(response.status, "completed");
    assert.equal(response.usage.inputTokenDetails.audioTokens, 10);
    assert.ok(heard(events));
  },
  async VAD(talk) {
    await talk.settle(CALLER);
    await talk.speak(0, 100, 400, 400);
    const [response, events] = await talk.done();
    const names = events.map((event) => event.type).filter((name) => name.startsWith("input_audio_buffer."));
    assert.deepEqual(names, ["speech_started", "speech_stopped", "committed"].map((name) => `input_audio_buffer.${name}`));
    assert.equal(response.status, "completed");
    assert.ok(heard(events));
  },
  async interruption(talk) {
    await talk.settle(CALLER);
    await talk.ask();
    const { itemId } = (await talk.until(AUDIO_DELTA)).at(-1);
    await talk.speak(300);
    const [response] = await talk.done();
    assert.equal(response.statusDetails?.reason, "turn_detected");
    const truncate = { type: "conversation.item.truncate", itemId, contentIndex: 0, audioEndInMs: 60 };
    await talk.session.sendEvent(truncate);
    assert.equal((await talk.until("conversation.item.truncated")).at(-1).audioEndInMs, 60);
  },
  async "function call"(talk) {
    await talk.settle(MANUAL, TOOLS);
    await talk.ask();
    const [{ output: [call] }] = await talk.done();
    assert.deepEqual([call.name, call.arguments], ["find_parcel", '{"number":"RX 17"}']);
    const item = { type: "function_call_output", callId: call.callId, output: "It is on its way." };
    await talk.session.addConversationItem(item);
    await talk.session.sendEvent({ type: "response.create" });
    const [{ output }] = await talk.done();
    assert.deepEqual(output.map((item) => item.type), ["message"]);
  },
  async cancel(talk) {
    await talk.settle(MANUAL);
    await talk.ask();
    await talk.until(AUDIO_DELTA);
    await talk.session.sendEvent({ type: "response.cancel" });
    const [response] = await talk.done();
    assert.equal(response.statusDetails?.reason, "client_cancelled");
  },
  async "invalid event"(talk) {
    await talk.settle(MANUAL);
    await talk.session.sendEvent({ type: "conversation.item.invent", eventId: "mine" });
    const { error } = (await talk.until("error")).at(-1);
    assert.deepEqual([error.type, error.eventId], ["invalid_request_error", "mine"]);
  },
};

async function outcome(step) {
  const talk = new Talk();
  const late = new Promise((_, reject) => setTimeout(reject, GUARD_MS, new Error("nothing more came")).unref());
  try {
    await Promise.race([talk.open().then(() => STEPS[step](talk)), late]);
    return "pass";
  } catch (error) {
    return error.message;
  } finally {
    await talk.session?.dispose();
  }
}

const outcomes = {};
for (const step of Object.keys(STEPS)) outcomes[step] = await outcome(step);
console.log(JSON.stringify(outcomes));
process.exit(0);
