#!/bin/sh
# Software: @azure/ai-voicelive 1.1.0 (npm, Node.js 20), and azure-ai-voicelive 1.3.1 (PyPI) for comparison.
# Expected: with HTTPS_PROXY and HTTP_PROXY set, both clients of the same service use the proxy, except for the hosts in NO_PROXY.
# Seen:     the JavaScript client goes through the proxy even if NO_PROXY names the host. The Python client never uses the proxy,
#           whether or not NO_PROXY names the host.
# Why:      in one environment, the two clients of one service take two routes, so their latencies cannot be compared. Audio to a
#           host that NO_PROXY keeps in the local network leaves through the proxy, which then is what a load test measures.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @azure/ai-voicelive@1.1.0 @azure/core-auth@1.10.1 ws@8.23.0
    python3 -m venv venv && venv/bin/pip install azure-ai-voicelive==1.3.1 aiohttp==3.14.5
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy

cat >client.py <<'EOF'
import asyncio
import sys

from azure.ai.voicelive.aio import connect
from azure.core.credentials import AzureKeyCredential


async def main():
    key = AzureKeyCredential("key")
    async with connect(endpoint=sys.argv[1], credential=key, model="gpt-realtime") as connection:
        await connection.recv()


asyncio.run(main())
EOF

cat >client.mjs <<'EOF'
import { VoiceLiveClient } from "@azure/ai-voicelive";
import { AzureKeyCredential } from "@azure/core-auth";

await new VoiceLiveClient(process.argv[2], new AzureKeyCredential("key")).createSession("gpt-realtime").connect();
process.exit(0);
EOF

cat >show.mjs <<'EOF'
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { promisify } from "node:util";
import { WebSocketServer } from "ws";

const run = promisify(execFile);

const service = createServer();
new WebSocketServer({ server: service }).on("connection", (socket) => {
    const session = { id: "session-1", object: "realtime.session", model: "gpt-realtime" };
    socket.send(JSON.stringify({ type: "session.created", event_id: "event-1", session }));
});
let proxied = 0;
const proxy = createServer().on("connect", (request, socket) => {
    proxied += 1;
    const [host, port] = request.url.split(":");
    const upstream = connect(Number(port), host, () => {
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        upstream.pipe(socket).pipe(upstream);
    });
    upstream.on("error", () => socket.destroy());
    socket.on("error", () => upstream.destroy());
});
for (const server of [service, proxy]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
}
const endpoint = `http://127.0.0.1:${service.address().port}`;
const address = `http://127.0.0.1:${proxy.address().port}`;
const clients = {
    javascript: ["node", "client.mjs"],
    python: ["venv/bin/python", "client.py"],
};

const seen = {};
for (const excluded of ["", "127.0.0.1"]) {
    const environment = { ...process.env, HTTPS_PROXY: address, HTTP_PROXY: address, NO_PROXY: excluded };
    for (const [name, [program, script]] of Object.entries(clients)) {
        proxied = 0;
        await run(program, [script, endpoint], { env: environment });
        seen[`${name} ${excluded}`] = proxied;
        console.log(`NO_PROXY="${excluded}", ${name}: ${proxied ? "through the proxy" : "directly"}`);
    }
}
const same = seen["javascript "] === 1 && seen["javascript 127.0.0.1"] === 1
    && seen["python "] === 0 && seen["python 127.0.0.1"] === 0;
console.log(same ? "As described: NO_PROXY changes nothing." : "CHANGED.");
process.exit(same ? 0 : 1);
EOF
node show.mjs
