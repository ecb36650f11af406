import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";

const agent = new RealtimeAgent({ name: "Parcels", instructions: "Help the caller." });
const session = new RealtimeSession(agent, { transport: new OpenAIRealtimeWebSocket() });
session.on("transport_event", (event) => {
  if (event.type !== "response.output_audio_transcript.done") return;
  console.log(event.transcript);
  session.close();
});
const url = "ws://127.0.0.1:8765/v1/realtime?model=gpt-realtime";
await session.connect({ apiKey: "any", url });
session.sendMessage("Hello!");
