import { VoiceLiveClient } from "@azure/ai-voicelive";
import { AzureKeyCredential } from "@azure/core-auth";

const client = new VoiceLiveClient("http://127.0.0.1:8765", new AzureKeyCredential("any"));
const session = client.createSession("gpt-realtime");
session.subscribe({
  async onResponseAudioTranscriptDone(event) {
    console.log(event.transcript);
    await session.dispose();
  },
});
await session.connect();
const content = [{ type: "input_text", text: "Hello!" }];
await session.addConversationItem({ type: "message", role: "user", content });
await session.sendEvent({ type: "response.create" });
