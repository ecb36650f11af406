// A filter that lets Azure's package read and write messages: a JSON line in, a JSON line out.
//
// `{"hear": MESSAGE}` with a text, or `{"say": …}` with `clear` or PCM in base64.
import { createInterface } from "node:readline";
import {
  StreamingData,
  createOutboundAudioData,
  createOutboundStopAudioData,
} from "@azure/communication-call-automation";

function answer(asked) {
  if ("hear" in asked) return { ...StreamingData.parse(asked.hear), kind: StreamingData.getStreamingKind() };
  return asked.say === "clear" ? createOutboundStopAudioData() : createOutboundAudioData(asked.say);
}

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(answer(JSON.parse(line))));
