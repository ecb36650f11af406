// An agent with libwebrtc, by its package for Node, in the form of its example of an audio source.
const { createRequire } = require('module');
const { answering, serve } = require('./talk.cjs');

const { RTCPeerConnection, nonstandard } = createRequire(`${process.cwd()}/`)('@roamhq/wrtc');
const RATE_HZ = 48_000, SAMPLES = RATE_HZ / 100, TONE_PIECES = 80, LOUD = 1_000;
const TONE = Int16Array.from({ length: SAMPLES }, (_, sample) => (sample % 96 < 48 ? 8_000 : -8_000));
const SILENCE = new Int16Array(SAMPLES);
const peers = new Set();

serve(async (sdp) => {
  const peer = new RTCPeerConnection(), source = new nonstandard.RTCAudioSource(), startMs = performance.now();
  let rest = 0, number = 0;
  peers.add(peer);
  const hear = answering(() => { rest = TONE_PIECES; });
  peer.ontrack = ({ track }) => {
    peer.sink = new nonstandard.RTCAudioSink(track);
    peer.sink.ondata = ({ samples }) => hear(samples.some((sample) => Math.abs(sample) > LOUD));
  };
  // libwebrtc takes pieces of 10 ms, at the rate of real time
  const speak = () => {
    if (peer.connectionState === 'closed' || peer.connectionState === 'failed') { peers.delete(peer); return; }
    source.onData({ samples: rest > 0 ? TONE : SILENCE, sampleRate: RATE_HZ });
    rest -= 1;
    number += 1;
    setTimeout(speak, startMs + number * 10 - performance.now());
  };
  peer.addTrack(source.createTrack());
  await peer.setRemoteDescription({ type: 'offer', sdp });
  await peer.setLocalDescription(await peer.createAnswer());
  if (peer.iceGatheringState !== 'complete') {
    await new Promise((resolve) => {
      peer.onicegatheringstatechange = () => { if (peer.iceGatheringState === 'complete') resolve(); };
    });
  }
  speak();
  return peer.localDescription.sdp;
});
