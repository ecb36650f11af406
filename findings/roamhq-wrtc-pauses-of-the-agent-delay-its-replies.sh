#!/bin/sh
# Software: @roamhq/wrtc 0.10.0 (npm, Node.js 20, amd64; libwebrtc for Node.js), two peers in one process. The agent gives its sound to
#           RTCAudioSource in frames of 10 ms, and the caller takes it from RTCAudioSink.
# Expected: an agent that has nothing to say gives no frames, and begins again with the next reply. Each reply is heard as early as that
#           of an agent who gives silence between its replies: about 60 ms after it is given, as no packet is lost or late.
# Seen:     with pauses of 1 s without frames, each reply is heard later than the one before it: 10 to 20 ms, 50 ms, 140 ms, 240 ms,
#           330 ms, 430 ms, and then 515 ms until the end of the call (also of a call of 60 s). One gap of 0.5 s, such as a stall of the
#           agent's event loop, is enough: within 10 s the replies are 450 ms late. In a call of 60 s, they were early again 25 s after
#           the gap. The statistics of the caller have no lost packet, and a jitter of some milliseconds. Only `jitterBufferDelay` has
#           the delay. With silence in the pauses, the replies are heard after 60 ms, or some 100 ms on a busy machine.
# Why:      an agent that is idle between replies is the usual one. Its latency grows by half a second during the first replies of
#           each call, and the model or the network is blamed. A test with one turn for each call finds the best value only, and a load
#           generator that stalls once adds this time to its measurements of the turns after it.
# Takes about 30 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund @roamhq/wrtc@0.10.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.cjs <<'EOF'
const { RTCPeerConnection, nonstandard } = require("@roamhq/wrtc");

const RATE_HZ = 48_000;
const FRAME = 480; // 10 ms
const LENGTH = 2_200; // frames
const REPLY = 20; // frames of each reply, at the start of each second that is even
const TONE = Int16Array.from({ length: FRAME }, (_, i) => Math.round(10_000 * Math.sin((2 * Math.PI * i) / 96)));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function connect(track) {
    const agent = new RTCPeerConnection();
    const caller = new RTCPeerConnection();
    agent.onicecandidate = ({ candidate }) => candidate && caller.addIceCandidate(candidate);
    caller.onicecandidate = ({ candidate }) => candidate && agent.addIceCandidate(candidate);
    const heard = new Promise((done) => { caller.ontrack = (event) => done(event.track); });
    agent.addTrack(track);
    await agent.setLocalDescription(await agent.createOffer());
    await caller.setRemoteDescription(agent.localDescription);
    await caller.setLocalDescription(await caller.createAnswer());
    await agent.setRemoteDescription(caller.localDescription);
    return { agent, caller, track: await heard };
}

// Makes a call in which the agent gives the frame `i` if `gives(i)`; returns the delay of each reply in ms.
async function call(name, gives) {
    const source = new nonstandard.RTCAudioSource();
    const { agent, caller, track } = await connect(source.createTrack());
    const sink = new nonstandard.RTCAudioSink(track);
    const given = [];
    const heard = [];
    let loud = 0;
    sink.ondata = ({ samples }) => {
        if (!samples.some((sample) => Math.abs(sample) > 2_000)) return;
        const now = performance.now();
        if (now - loud > 300) heard.push(now);
        loud = now;
    };
    await wait(1_000);
    const start = performance.now();
    for (let i = 0; i < LENGTH; i += 1) {
        await wait(Math.max(0, start + i * 10 - performance.now()));
        if (!gives(i)) continue;
        const is_reply = i % 200 < REPLY;
        if (i % 200 === 0) given.push(performance.now());
        source.onData({
            samples: is_reply ? TONE.slice() : new Int16Array(FRAME),
            sampleRate: RATE_HZ, bitsPerSample: 16, channelCount: 1, numberOfFrames: FRAME,
        });
    }
    await wait(1_000);
    const delays = given.map((time) => Math.round(heard.find((other) => other > time) - time));
    const stats = [...(await caller.getStats()).values()].find(({ type }) => type === "inbound-rtp");
    console.log(`${name}: replies are heard after ${delays.join(" ")} ms`);
    console.log(`  packets lost: ${stats.packetsLost}; jitter: ${Math.round(1_000 * stats.jitter)} ms; mean delay of the jitter `
        + `buffer: ${Math.round((1_000 * stats.jitterBufferDelay) / stats.jitterBufferEmittedCount)} ms`);
    sink.stop();
    agent.close();
    caller.close();
    return { delays, lost: stats.packetsLost };
}

async function main() {
    const [steady, paused, stalled] = await Promise.all([
        call("silence between the replies", () => true),
        call("no frames in each second second", (i) => i % 200 < 100),
        call("one gap of 0.5 s, at 5.5 s", (i) => i < 550 || i >= 600),
    ]);
    const median = (delays) => delays.toSorted((a, b) => a - b)[Math.floor(delays.length / 2)];
    const usual = median(steady.delays); // The median, since a busy machine can stall this call, too.
    const same = usual < 150
        && median(paused.delays.slice(-3)) > usual + 250
        && median(stalled.delays.slice(-3)) > usual + 200
        && [steady, paused, stalled].every(({ lost }) => lost === 0);
    console.log(same ? "As described: pauses of the agent delay its replies." : "CHANGED.");
    process.exit(same ? 0 : 1);
}

main();
EOF
node show.cjs
