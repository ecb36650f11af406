// An agent with werift, as its examples start one: sockets on each interface, and candidates of all but loopback.
const { RTCPeerConnection, RTCRtpCodecParameters, MediaStreamTrack } = require(require.resolve('werift', { paths: [process.cwd()] }));
const { serve, talker } = require('./talk.cjs');

const PCMU = new RTCRtpCodecParameters({ mimeType: 'audio/PCMU', clockRate: 8000, channels: 1, payloadType: 0 });

serve(async (sdp) => {
  const peer = new RTCPeerConnection({ codecs: { audio: [PCMU] } });
  const track = new MediaStreamTrack({ kind: 'audio' });
  const hear = talker((packet) => track.writeRtp(packet), 1);
  peer.onTrack.subscribe((heard) => heard.onReceiveRtp.subscribe((packet) => hear(packet.payload)));
  peer.addTransceiver(track, { direction: 'sendrecv' });
  await peer.setRemoteDescription({ type: 'offer', sdp });
  await peer.setLocalDescription(await peer.createAnswer());
  return peer.localDescription.sdp;
});
