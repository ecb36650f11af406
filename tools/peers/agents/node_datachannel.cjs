// An agent with node-datachannel (libdatachannel), whose socket is bound to all addresses.
const { createRequire } = require('module');
const { serve, talker } = require('./talk.cjs');

const { PeerConnection, RtcpReceivingSession } = createRequire(`${process.cwd()}/`)('node-datachannel');
const peers = new Set();

serve((sdp) => new Promise((resolve) => {
  const peer = new PeerConnection('agent', { iceServers: [] });
  peers.add(peer);
  peer.onStateChange((state) => { if (['closed', 'failed'].includes(state)) peers.delete(peer); });
  peer.onGatheringStateChange((state) => { if (state === 'complete') resolve(peer.localDescription().sdp); });
  peer.onTrack((track) => {
    const hear = talker((packet) => track.sendMessageBinary(packet), 1);
    track.setMediaHandler(new RtcpReceivingSession());
    track.onMessage((packet) => { if ((packet[1] & 0x7f) === 0) hear(packet.subarray(12)); });
    peer.track = track;
  });
  peer.setRemoteDescription(sdp, 'offer');
}));
