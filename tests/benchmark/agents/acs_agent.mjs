// An agent of Azure's package: `node acs_agent.mjs LOG DELAY_MS REPLY.wav…`, with WAVs of the call's rate, 16 bits.
//
// `StreamingData` of @azure/communication-call-automation reads each message, and the package's own functions make what
// is sent. Energy finds the caller's speech; 500 ms of silence end it, and the next recording is said a delay later,
// four times as fast as it sounds. It prints its port. Its log has a line for each message, and for what it notes
// itself, with the instant by the kernel's monotonic clock.
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import {
  StreamingData,
  createOutboundAudioData,
  createOutboundStopAudioData,
} from "@azure/communication-call-automation";
import { WebSocketServer } from "ws";

const [, , logPath, delayMs, ...paths] = process.argv;
const FRAME_MS = 20;
const SPEED = 4;
const AUDIBLE = 104;
const LOUD_RMS = 200;
const BEGIN_FRAMES = 3;
const SILENT_FRAMES = 25;
const WAV_HEADER = 44;

const log = openSync(logPath, "w");
const recordings = paths.map((path) => {
  const pcm = readFileSync(path).subarray(WAV_HEADER);
  let begin = 0;
  while (Math.abs(pcm.readInt16LE(begin)) < AUDIBLE) begin += 2;
  return pcm.subarray(begin);
});

function loud(pcm) {
  let power = 0;
  for (let at = 0; at < pcm.length; at += 2) power += pcm.readInt16LE(at) ** 2;
  return Math.sqrt((power * 2) / pcm.length) >= LOUD_RMS;
}

function hold(socket, call) {
  const lines = [];
  const note = (d, t, fields = {}) => lines.push({ call, at: Number(process.hrtime.bigint()), d, t, ...fields });
  const send = (said) => {
    note("out", "text", { said });
    socket.send(said);
  };
  let speaking = false;
  let run = 0;
  let replies = 0;
  let unsaid = Buffer.alloc(0);
  let frameBytes = 0;
  let playsUntil = 0;
  let timer = null;
  let thought = null;

  const frame = () => {
    if (unsaid.length === 0) {
      timer = null;
      return;
    }
    send(createOutboundAudioData(unsaid.subarray(0, frameBytes).toString("base64")));
    unsaid = unsaid.subarray(frameBytes);
    playsUntil = Math.max(playsUntil, performance.now()) + FRAME_MS;
    timer = setTimeout(frame, FRAME_MS / SPEED);
  };
  const speak = () => {
    thought = null;
    note("note", "speaks");
    unsaid = recordings[replies++ % recordings.length];
    if (timer === null) frame();
  };
  const silence = () => {
    clearTimeout(thought);
    thought = null;
    if (unsaid.length > 0 || performance.now() < playsUntil) {
      note("note", "interrupted");
      unsaid = Buffer.alloc(0);
      playsUntil = 0;
      send(createOutboundStopAudioData());
    }
  };
  const hear = (pcm) => {
    run = loud(pcm) === speaking ? 0 : run + 1;
    if (!speaking && run === BEGIN_FRAMES) {
      [speaking, run] = [true, 0];
      note("note", "begins");
      silence();
    } else if (speaking && run === SILENT_FRAMES) {
      [speaking, run] = [false, 0];
      note("note", "ends", { stop_s: (SILENT_FRAMES * FRAME_MS) / 1000 });
      thought = setTimeout(speak, Number(delayMs));
    }
  };

  note("in", "connected");
  socket.on("message", (data, binary) => {
    note("in", binary ? "binary" : "text", { said: data.toString(binary ? "base64" : "utf8") });
    const told = StreamingData.parse(data.toString());
    if (StreamingData.getStreamingKind() === "AudioMetadata") {
      note("note", "metadata", { metadata: told });
      frameBytes = (2 * told.sampleRate * FRAME_MS) / 1000;
      speak();
    } else if (StreamingData.getStreamingKind() === "AudioData") hear(Buffer.from(told.data, "base64"));
  });
  socket.on("close", (code) => {
    clearTimeout(timer);
    clearTimeout(thought);
    note("in", "closed", { code });
    writeSync(log, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  });
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 }, () => console.log(server.address().port));
server.on("connection", (socket, request) => hold(socket, request.headers["x-ms-call-connection-id"]));
process.on("SIGTERM", () => {
  closeSync(log);
  process.exit(0);
});
