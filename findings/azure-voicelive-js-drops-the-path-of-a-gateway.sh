#!/bin/sh
# Software: @azure/ai-voicelive 1.1.0 (npm, Node.js 20), and azure-ai-voicelive 1.3.1 (PyPI) for comparison.
# Expected: with the endpoint https://HOST/team-a?tenant=7 of a gateway, both clients of the same service request
#           /team-a/voice-live/realtime and keep the tenant.
# Seen:     the Python client does. The JavaScript client replaces the path: it requests /voice-live/realtime. It keeps the query.
# Why:      API gateways route by the first part of the path. The same setting reaches the deployment from Python. From
#           JavaScript it reaches the default route: a 404, or silently another deployment, whose latency is then the result.
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
    key = AzureKeyCredential("key")
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
const requested = [];
new WebSocketServer({ server: http }).on("connection", (socket, request) => {
    requested.push(new URL(request.url, "http://gateway"));
    const session = { id: "session-1", object: "realtime.session", model: "gpt-realtime" };
    socket.send(JSON.stringify({ type: "session.created", event_id: "event-1", session }));
});
http.listen(0, "127.0.0.1");
await once(http, "listening");
const endpoint = `http://127.0.0.1:${http.address().port}/team-a?tenant=7`;

await new VoiceLiveClient(endpoint, new AzureKeyCredential("key")).createSession("gpt-realtime").connect();
await promisify(execFile)("venv/bin/python", ["client.py", endpoint]);

const [javascript, python] = requested;
console.log("endpoint:   /team-a?tenant=7");
for (const [name, url] of Object.entries({ javascript, python })) {
    console.log(`${name}: path ${url.pathname}, tenant ${url.searchParams.get("tenant")}`);
}
const same = javascript.pathname === "/voice-live/realtime"
    && python.pathname === "/team-a/voice-live/realtime"
    && [javascript, python].every((url) => url.searchParams.get("tenant") === "7");
console.log(same ? "As described: only the JavaScript client drops the path." : "CHANGED.");
process.exit(same ? 0 : 1);
EOF
node show.mjs
