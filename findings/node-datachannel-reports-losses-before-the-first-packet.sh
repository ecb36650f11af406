#!/bin/sh
# Software: node-datachannel 0.33.4 (npm, Node.js 20, amd64; libdatachannel for Node.js), a track that receives Opus with the package's
#           RtcpReceivingSession, which sends the receiver reports. The sender is the same package without a handler: it sends the RTP and
#           the sender reports of this script as they are.
# Expected: a report contains what RFC 3550 section 6.4.1 defines: the packets lost since the beginning of reception, the loss since the
#           last report, the highest sequence number, the jitter.
# Seen:     if the first sequence number is below 3,000, all numbers below it are lost packets. Of a call without loss that begins with
#           1,000, the first report has a loss of 95 % (243/256), and all reports have 1,000 lost packets. Of calls that begin with
#           20,000, the loss is right. The jitter is always 0, also here, where each second packet is 10 ms late (480 in units of the
#           clock of Opus). The highest sequence number is in the field of the cycles, and its own field is 0.
# Why:      the peer, a service or its gateway, knows the way to the client by these reports. A sender begins with a random number, and
#           aiortc and libwebrtc take one below 32,768. So one call of eleven has a loss of up to 98 % at its start, and up to 3,000 lost
#           packets in total, on a perfect network. An alarm on packet loss fires, and a sender that adapts its bit rate or
#           its error correction to the loss does so for nothing. The jitter of such clients is perfect on each network.
# Takes about 20 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund node-datachannel@0.33.4
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.mjs <<'EOF'
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import rtc from "node-datachannel";

const PACKETS = 100; // of 20 ms
const REPORT = 50; // packets from one sender report to the next
const SSRC = 0x1234;
const TICKS = 960;
const kept = []; // open until the end

function rtp(sequence, timestamp) {
    const packet = Buffer.alloc(72);
    packet.set([0x80, 111]);
    packet.writeUInt16BE(sequence, 2);
    packet.writeUInt32BE(timestamp, 4);
    packet.writeUInt32BE(SSRC, 8);
    packet[12] = 0x78; // Opus, 20 ms, one channel
    return packet;
}

function senderReport(timestamp, sent) {
    const now_s = Date.now() / 1000 + 2_208_988_800;
    const packet = Buffer.alloc(28);
    packet.set([0x80, 200, 0, 6]);
    const words = [SSRC, Math.floor(now_s), Math.floor((now_s % 1) * 2 ** 32), timestamp, sent, sent * 60];
    words.forEach((word, i) => packet.writeUInt32BE(word, 4 + 4 * i));
    return packet;
}

function block(report) {
    return {
        fraction: report[12],
        lost: report.readIntBE(13, 3),
        cycles: report.readUInt16BE(16),
        highest: report.readUInt16BE(18),
        jitter: report.readUInt32BE(20),
    };
}

/** Returns the report blocks that the sender of a call gets. */
async function call(name, first, isLost) {
    const sender = new rtc.PeerConnection("sender", { iceServers: [] });
    const receiver = new rtc.PeerConnection("receiver", { iceServers: [] });
    for (const [one, other] of [[sender, receiver], [receiver, sender]]) {
        one.onLocalDescription((sdp, type) => other.setRemoteDescription(sdp, type));
        one.onLocalCandidate((candidate, mid) => other.addRemoteCandidate(candidate, mid));
    }
    let received = 0;
    let incoming;
    receiver.onTrack((track) => {
        incoming = track;
        track.setMediaHandler(new rtc.RtcpReceivingSession());
        track.onMessage(() => { received += 1; });
    });
    const audio = new rtc.Audio("audio", "SendOnly");
    audio.addOpusCodec(111);
    audio.addSSRC(SSRC, "caller", "stream", "track");
    const track = sender.addTrack(audio);
    const blocks = [];
    track.onMessage((message) => { if (message[1] === 201) blocks.push(block(message)); });
    sender.setLocalDescription();
    for (let i = 0; i < 200 && !(track.isOpen() && incoming?.isOpen()); i += 1) await sleep(50);

    const started_ms = performance.now();
    let sent = 0;
    for (let i = 0; i < PACKETS; i += 1) {
        const due_ms = i * 20 + (i % 2) * 10; // each second packet is 10 ms late
        await sleep(Math.max(0, started_ms + due_ms - performance.now()));
        const timestamp = 5000 + i * TICKS;
        if (!isLost(i)) {
            track.sendMessageBinary(rtp(first + i, timestamp));
            sent += 1;
        }
        if (i % REPORT === REPORT - 1) track.sendMessageBinary(senderReport(timestamp, sent));
    }
    for (let i = 0; i < 100 && blocks.length < PACKETS / REPORT; i += 1) await sleep(50);
    kept.push(sender, receiver, track, incoming);
    console.log(`${name}: sequence numbers ${first} to ${first + PACKETS - 1}, ${sent} sent, ${received} received`);
    for (const { fraction, lost, cycles, highest, jitter } of blocks) {
        console.log(`  report: loss since the last one ${fraction}/256, packets lost ${lost}, cycles ${cycles}, `
            + `highest sequence number ${highest}, jitter ${jitter}`);
    }
    return blocks;
}

const none = await call("without loss", 20_000, () => false);
const some = await call("each fifth packet lost", 20_000, (i) => i % 5 === 3);
const early = await call("without loss", 1000, () => false);
const all = [...none, ...some, ...early];
const is = (blocks, key, ...values) => blocks.map((one) => one[key]).join() === values.join();
const same = all.length === 3 * PACKETS / REPORT
    && all.every((one) => one.jitter === 0 && one.highest === 0 && one.cycles > 1000)
    && is(none, "lost", 0, 0)
    && is(some, "lost", 10, 20)
    && is(early, "lost", 1000, 1000)
    && early[0].fraction > 240;
console.log(same ? "As described: packets before the first one are lost, and there is no jitter." : "CHANGED.");
writeFileSync("status", same ? "0" : "1");
process.kill(process.pid, "SIGKILL"); // without the teardown of the package's threads, which can fail
EOF
echo 1 >status
node show.mjs || true
exit "$(cat status)"
