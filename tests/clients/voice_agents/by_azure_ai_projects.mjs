// A typed conversation by @azure/ai-projects with the simulated voice agent.

import { VoiceAgentRealtimeClient } from "@azure/ai-projects";

const [port, token] = process.argv.slice(2);
const scopes = [];
const credential = {
  getToken: async (scope) => {
    scopes.push(scope);
    return { token, expiresOnTimestamp: Date.now() + 3_600_000 };
  },
};
const client = new VoiceAgentRealtimeClient(`https://localhost:${port}/api/projects/care`, credential);
const connection = await client.connect("desk");
if (`${scopes}` !== "https://ai.azure.com/.default") throw new Error(`scopes: ${scopes}`);
let heard = 0;
for await (const event of connection) {
  if (event.type === "error") throw new Error(JSON.stringify(event.error));
  if (event.type === "session.created") await connection.sendText("Hello");
  if (event.type === "response.output_audio.delta") heard += event.delta.length;
  if (event.type !== "response.done") continue;
  if (event.response.status !== "completed" || !heard) throw new Error(JSON.stringify(event.response));
  break;
}
await connection.close();
console.log("answered");
process.exit(0);
