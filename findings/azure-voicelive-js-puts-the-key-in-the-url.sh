#!/bin/sh
# Software: @azure/ai-voicelive 1.1.0 (npm, Node.js 20), and azure-ai-voicelive 1.3.1 (PyPI) for comparison.
# Expected: an API key travels in the header `api-key` only, because proxies and gateways write URLs to their access logs.
# Seen:     the JavaScript client sends the key in this header and also in the query of the URL. The Python client sends it in
#           the header only.
# Why:      each gateway, load balancer, and proxy that ends TLS in front of the service writes the key to its access log, once
#           per call. A load test writes it thousands of times, also to traces that people attach to reports.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @azure/ai-voicelive@1.1.0 @azure/core-auth@1.10.1 ws@8.23.0
    python3 -m venv venv && venv/bin/pip install azure-ai-voicelive==1.3.1 aiohttp==3.14.5
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >client.py <<'EOF'
import asyncio
import sys

from azure.ai.voicelive.aio import connect
from azure.core.credentials import AzureKeyCredential


async def main():
    key = AzureKeyCredential("my-secret-key")
    async with connect(endpoint=sys.argv[1], credential=key, model="gpt-realtime") as connection:
        await connection.recv()


asyncio.run(main())
EOF

cat >show.mjs <<'EOF'
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { promisify } from "node:util";
import { VoiceLiveClient } from "@azure/ai-voicelive";
import { AzureKeyCredential } from "@azure/core-auth";
import { WebSocketServer } from "ws";

const http = createServer();
const requests = [];
new WebSocketServer({ server: http }).on("connection", (socket, request) => {
    requests.push({ url: request.url, header: request.headers["api-key"] });
    const session = { id: "session-1", object: "realtime.session", model: "gpt-realtime" };
    socket.send(JSON.stringify({ type: "session.created", event_id: "event-1", session }));
});
http.listen(0, "127.0.0.1");
await once(http, "listening");
const endpoint = `http://127.0.0.1:${http.address().port}`;

const client = new VoiceLiveClient(endpoint, new AzureKeyCredential("my-secret-key"));
await client.createSession("gpt-realtime").connect();
await promisify(execFile)("venv/bin/python", ["client.py", endpoint]);

const [javascript, python] = requests;
for (const [name, { url, header }] of Object.entries({ javascript, python })) {
    console.log(`${name}: header api-key: ${header}`);
    console.log(`${name}: GET ${url}`);
}
const same = [javascript, python].every((each) => each.header === "my-secret-key")
    && javascript.url.includes("my-secret-key")
    && !python.url.includes("my-secret-key");
console.log(same ? "As described: only the JavaScript client puts the key in the URL." : "CHANGED.");
process.exit(same ? 0 : 1);
EOF
node show.mjs
