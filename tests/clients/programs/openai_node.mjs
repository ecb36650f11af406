import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const client = new OpenAI({ apiKey: "any", baseURL: "https://127.0.0.1:8765/v1" });
const connection = new OpenAIRealtimeWS({ model: "gpt-realtime" }, client);
connection.socket.on("open", () => {
  const content = [{ type: "input_text", text: "Hello!" }];
  connection.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
  connection.send({ type: "response.create" });
});
connection.on("response.output_audio_transcript.done", (event) => {
  console.log(event.transcript);
  connection.close();
});
