// A client with @openai/agents-realtime: `node openai_agents_realtime_node.mjs http://…/v1` runs the steps, and prints
// outcomes as JSON. `tools/clients.py` runs it next to the framework.
import assert from "node:assert/strict";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const BYTES_PER_MS = 48;
const CHUNK_BYTES = 4800;
const GUARD_MS = 60_000;
const turnDetection = { type: "server_vad", silenceDurationMs: 200 };
const url = `${process.argv[2].replace("http", "ws")}/realtime?model=gpt-realtime`;

/** A session that returns the events of its transport one after another. */
class Talk {
  #events = [];
  #wake = () => {};
  asked = [];
  interruptions = 0;

  async open(withTool) {
    const execute = async ({ number }) => this.asked.push(number) && "It is on its way.";
    const parameters = z.object({ number: z.string() });
    const find = tool({ name: "find_parcel", description: "Find a parcel.", parameters, execute });
    const agent = new RealtimeAgent({ name: "Parcels", instructions: "Help.", tools: withTool ? [find] : [] });
    const transport = new OpenAIRealtimeWebSocket();
    this.session = new RealtimeSession(agent, { transport, config: { audio: { input: { turnDetection } } } });
    this.session.on("transport_event", (event) => this.#take(event));
    this.session.on("audio_interrupted", () => (this.interruptions += 1));
    this.session.on("error", ({ error }) => this.#take({ type: "error", error }));
    await this.session.connect({ apiKey: "any", url });
    await this.until("session.updated");
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

  async reply() {
    const events = await this.until("response.done");
    assert.ok(events.some((event) => event.type === "response.output_audio.delta"), "no audio");
    assert.equal(events.at(-1).response.status, "completed");
  }

  speak(loudMs, silentMs = 0) {
    const audio = Buffer.alloc((loudMs + silentMs) * BYTES_PER_MS);
    for (let place = 0; place < (loudMs * BYTES_PER_MS) / 2; place++)
      audio.writeInt16LE(Math.floor(place / 200) % 2 ? 3277 : -3277, 2 * place);
    for (let begin = 0; begin < audio.length; begin += CHUNK_BYTES)
      this.session.sendAudio(new Uint8Array(audio.subarray(begin, begin + CHUNK_BYTES)).buffer);
  }
}

const STEPS = {
  async connect() {},
  async text(talk) {
    talk.session.sendMessage("Hello!");
    await talk.reply();
  },
  async VAD(talk) {
    talk.speak(400, 400);
    await talk.reply();
  },
  async interruption(talk) {
    talk.session.sendMessage("Tell me everything.");
    await talk.until("response.output_audio.delta");
    talk.speak(300);
    const { response } = (await talk.until("response.done")).at(-1);
    assert.equal(response.status_details?.reason, "turn_detected");
    await talk.until("conversation.item.truncated");
    assert.equal(talk.interruptions, 1);
    talk.speak(0, 400);
    await talk.reply();
  },
  async "function call"(talk) {
    talk.session.sendMessage("Where is my parcel?");
    await talk.until("response.done");
    await talk.reply();
    assert.equal(talk.asked.length, 1);
  },
};

async function outcome(step) {
  const talk = new Talk();
  const late = new Promise((_, reject) => setTimeout(reject, GUARD_MS, new Error("nothing more came")).unref());
  try {
    await Promise.race([talk.open(step === "function call").then(() => STEPS[step](talk)), late]);
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
