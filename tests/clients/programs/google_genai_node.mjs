import { GoogleGenAI, Modality } from "@google/genai";

const callbacks = {
  onmessage({ serverContent }) {
    process.stdout.write(serverContent?.outputTranscription?.text ?? "");
    if (serverContent?.turnComplete) session.close();
  },
};
const config = { responseModalities: [Modality.AUDIO], outputAudioTranscription: {} };
const ai = new GoogleGenAI({ apiKey: "any", httpOptions: { baseUrl: "http://127.0.0.1:8765" } });
const session = await ai.live.connect({ model: "gemini-3.8-live", config, callbacks });
session.sendRealtimeInput({ text: "Hello!" });
