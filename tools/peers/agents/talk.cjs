// What each agent in Node does in a call with G.711: it greets its caller, and answers each utterance with a tone.
// Its packets have a pause between two utterances, so a capture shows where each of them begins.
const http = require('http');

const FRAME_MS = 20, FRAME = 160, GREET_MS = 300, ANSWER_MS = 400, TONE_FRAMES = 40;
const TONE = Buffer.from(Array.from({ length: FRAME }, (_, sample) => (sample % 16 < 8 ? 0x9f : 0x1f)));
const isLoud = (payload) => payload.some((byte) => ((~byte >> 4) & 7) >= 5);

// Returns the function that accepts whether each piece of the caller's audio is loud. It calls `speak` when a reply is due.
exports.answering = (speak) => {
  let hasGreeted = false, lastLoudMs = null;
  return (isLoud) => {
    if (!hasGreeted) { hasGreeted = true; setTimeout(speak, GREET_MS); }
    const nowMs = performance.now();
    if (isLoud) lastLoudMs = nowMs;
    else if (lastLoudMs !== null && nowMs - lastLoudMs >= ANSWER_MS) { lastLoudMs = null; speak(); }
  };
};

// `send(packet)` sends an RTP packet, which has the SSRC `ssrc`. Returns the function that accepts the caller's packets.
exports.talker = (send, ssrc) => {
  const startMs = performance.now();
  let number = 0, lastLoudMs = null;
  const speak = () => {
    const firstMs = performance.now(), timestamp = Math.round((firstMs - startMs) * 8);
    let frame = 0;
    const next = () => {
      const header = Buffer.alloc(12);
      header.writeUInt16BE(frame ? 0x8000 : 0x8080, 0);
      header.writeUInt16BE(number++ & 0xffff, 2);
      header.writeUInt32BE((timestamp + frame * FRAME) >>> 0, 4);
      header.writeUInt32BE(ssrc, 8);
      try { send(Buffer.concat([header, TONE])); } catch { return; }
      frame += 1;
      if (frame < TONE_FRAMES) setTimeout(next, firstMs + frame * FRAME_MS - performance.now());
    };
    next();
  };
  const hear = exports.answering(speak);
  return (payload) => hear(isLoud(payload));
};

// Answer each offer by `answer(sdp)`, which returns the SDP of the answer, and print the port.
exports.serve = (answer) => {
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (data) => { body += data; });
    request.on('end', async () => {
      const sdp = await answer(JSON.parse(body).sdp);
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ sdp, type: 'answer' }));
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
};
