#!/bin/sh
# Software: @aws-sdk/client-bedrock-runtime 3.1164.0 (npm) for Amazon Nova Sonic, and h2 4.4.1 (PyPI), HTTP/2 for Python.
# Expected: a client that opens a call of minutes does not end its connection first; and a server with h2 goes on with the
#           streams of a client that only opens no others (RFC 9113 §6.8: GOAWAY with NO_ERROR).
# Seen:     the SDK sends GOAWAY with NO_ERROR after the first event of its request, 300 ms before the second one, and the
#           conversation goes on. h2 reports ConnectionTerminated and refuses everything after it: frames of the open stream
#           that arrive, and those that the server sends.
# Why:      a server or a test double of Nova Sonic on h2 hangs up on each call of this SDK, and not on
#           those of the SDK for Python.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @aws-sdk/client-bedrock-runtime@3.1164.0
    python3 -m venv venv && venv/bin/pip install h2==4.4.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

# A server by Node's own HTTP/2 prints what the SDK sends, in its order. The SDK's body is two events, 300 ms apart.
cat >client.mjs <<'EOF'
import http2 from "node:http2";
import { BedrockRuntimeClient, InvokeModelWithBidirectionalStreamCommand } from "@aws-sdk/client-bedrock-runtime";

const seen = [];
const server = http2.createServer();
server.on("session", (session) => session.on("goaway", (code) => seen.push(`GOAWAY ${code}`)));
server.on("stream", (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/vnd.amazon.eventstream" });
    stream.on("data", () => seen.push("DATA"));
    stream.on("end", () => { seen.push("END"); stream.end(); });
});
server.listen(0, "127.0.0.1", async () => {
    const client = new BedrockRuntimeClient({
        endpoint: `http://127.0.0.1:${server.address().port}`,
        region: "us-east-1",
        credentials: { accessKeyId: "AKIAEXAMPLE", secretAccessKey: "example" },
    });
    async function* body() {
        for (const event of ["sessionStart", "sessionEnd"]) {
            yield { chunk: { bytes: Buffer.from(JSON.stringify({ event: { [event]: {} } })) } };
            await new Promise((resolve) => setTimeout(resolve, 300));
        }
    }
    const command = new InvokeModelWithBidirectionalStreamCommand({ modelId: "amazon.nova-2-sonic-v1:0", body: body() });
    const { body: events } = await client.send(command);
    for await (const event of events) void event;
    console.log(`the SDK sends: ${seen.join(", ")}`);
    const before = seen.indexOf("GOAWAY 0");
    process.exit(before >= 0 && before < seen.lastIndexOf("DATA") ? 0 : 1);
});
EOF

# A client and a server by h2, without a network. The client says GOAWAY as above, and then sends the rest of its body.
cat >server.py <<'EOF'
import struct
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError

client = H2Connection(H2Configuration(client_side=True))
server = H2Connection(H2Configuration(client_side=False))
client.initiate_connection()
server.initiate_connection()
names = {":method": "POST", ":path": "/", ":scheme": "http", ":authority": "x"}
client.send_headers(1, list(names.items()))
client.send_data(1, b"first")
server.receive_data(client.data_to_send())
goaway = (8).to_bytes(3, "big") + b"\7\0" + bytes(4) + struct.pack(">II", 0, 0)
print("h2 reports:", *(type(event).__name__ for event in server.receive_data(goaway)))
client.send_data(1, b"second")
problems = []
for what, act in (
    ("receive the rest of the stream", lambda: server.receive_data(client.data_to_send())),
    ("respond on the stream", lambda: server.send_headers(1, [(":status", "200")])),
):
    try:
        act()
    except ProtocolError as error:
        problems.append(what)
        print(f"h2 cannot {what}: {type(error).__name__}")
sys.exit(0 if len(problems) == 2 else 1)
EOF
status=0
node client.mjs 2>&1 | grep "the SDK sends" || status=1
venv/bin/python server.py || status=1
[ "$status" = 0 ] && echo "As described: the SDK ends the connection first, and h2 ends the stream with it." || echo "CHANGED."
exit "$status"
