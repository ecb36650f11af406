#!/bin/sh
# Software: @deepgram/sdk 5.13.0 (npm, Node.js 20), `listen.v1` (speech to text), hume 0.16.0 (npm), `empathicVoice.chat`, which has the
#           same WebSocket with reconnection, and ws 8.23.0 below both, for comparison.
# Expected: a call whose handshake the service refuses (503) closes with 1006, as with ws and as in browsers, never with 1000, "Normal
#           Closure" (RFC 6455 section 7.4.1). `reconnectAttempts`, 30 by default, is documented by Deepgram as "Maximum number of times to
#           automatically reconnect", and a close "on any close code other than 1000" reconnects. So a call whose service refuses
#           once, as while it restarts, is there again some seconds later.
# Seen:     the SDKs report a close with code 1000 first, and then the error. They take their own 1000 for a normal end and do not try
#           again, ever. A call that the service drops in the middle (1011) is dialed again, but if this one attempt is refused, the
#           call ends with 1000, and the other 29 attempts are not made. A service that drops the call and accepts it again gets it.
# Why:      a test that counts ends of calls by their code counts refused calls as calls that ended well, and the last code of a dropped
#           call is a good one, too. The SDK survives a dropped connection in a test, and in production it loses all calls of a restart
#           of some seconds, as the service refuses the only attempt.
# Takes about a minute.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @deepgram/sdk@5.13.0 hume@0.16.0 ws@8.23.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.cjs <<'EOF'
const http = require("node:http");
const { once } = require("node:events");
const { setTimeout: sleep } = require("node:timers/promises");
const { DeepgramClient } = require("@deepgram/sdk");
const { HumeClient } = require("hume");
const { WebSocket, WebSocketServer } = require("ws");

const WATCHED_S = 20;

/** Start a service which treats the handshakes of its call as listed, and accepts and holds all others. */
async function service(treatments) {
  const sockets = new WebSocketServer({ noServer: true });
  const server = http.createServer();
  let handshakes = 0;
  server.on("upgrade", (request, socket, head) => {
    const treatment = treatments[handshakes++];
    if (treatment === "refuse") {
      socket.end("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return;
    }
    sockets.handleUpgrade(request, socket, head, (accepted) => {
      if (treatment === "drop") setTimeout(() => accepted.close(1011, "internal error"), 500);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { address: `127.0.0.1:${server.address().port}`, handshakes: () => handshakes };
}

const clients = {
  deepgram: async (address) => {
    const client = new DeepgramClient({ apiKey: "key", baseUrl: `ws://${address}` });
    return client.listen.v1.connect({ model: "nova-3", encoding: "linear16", sample_rate: 16000 });
  },
  hume: async (address) => {
    const environment = { base: `http://${address}`, evi: `ws://${address}/v0/evi`, tts: `ws://${address}`, stream: `ws://${address}` };
    return new HumeClient({ apiKey: "key", environment }).empathicVoice.chat.connect();
  },
  ws: async (address) => new WebSocket(`ws://${address}`),
};

/** Make one call; return the number of its handshakes, and its events. */
async function call(name, treatments) {
  const { address, handshakes } = await service(treatments);
  const connection = await clients[name](address);
  const events = [];
  connection.on("open", () => events.push("open"));
  connection.on("error", () => events.push("error"));
  connection.on("close", (closed) => events.push(`close ${closed?.code ?? closed}`));
  if (name === "deepgram") connection.connect();
  await sleep(WATCHED_S * 1000);
  console.log(`${name}, service: ${[...treatments, "accept"].join(", ")}: ${handshakes()} handshakes; ${events.join(", ")}`);
  return { handshakes: handshakes(), events: events.join(", ") };
}

process.on("unhandledRejection", () => {});

async function main() {
  const cases = [["drop"], ["refuse"], ["drop", "refuse"]];
  const seen = await Promise.all(
    ["deepgram", "hume"].flatMap((name) => cases.map((treatments) => call(name, treatments))),
  );
  const plain = await call("ws", ["refuse"]);
  const expected = [
    { handshakes: 2, events: "open, close 1011, open" },
    { handshakes: 1, events: "close 1000, error" },
    { handshakes: 2, events: "open, close 1011, close 1000, error" },
  ];
  const same =
    JSON.stringify(seen) === JSON.stringify([...expected, ...expected]) &&
    plain.handshakes === 1 &&
    plain.events === "error, close 1006";
  console.log(same ? "As described: a refused call is closed with 1000, and not dialed again." : "CHANGED.");
  process.exit(same ? 0 : 1);
}

main();
EOF
node show.cjs
