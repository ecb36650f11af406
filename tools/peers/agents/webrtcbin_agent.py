"""An agent with GStreamer's webrtcbin and PCMU. It uses the Python of Debian, and prints its
port.
"""

import json
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gi
import numpy as np
from python_talk import FRAME_S, Talker, tone

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

Gst.init(None)
RATE_HZ = 8_000
SAMPLES = int(RATE_HZ * FRAME_S)
PIPELINE = (
    "webrtcbin name=peer bundle-policy=max-bundle appsrc name=voice format=time is-live=true"
    " caps=audio/x-raw,format=S16LE,rate=8000,channels=1,layout=interleaved ! mulawenc ! rtppcmupay"
    " pt=0 ! application/x-rtp,media=audio,encoding-name=PCMU,payload=0,clock-rate=8000 ! peer."
)
LISTEN = "rtppcmudepay ! mulawdec ! appsink name=ear emit-signals=true sync=false"
calls: list = []


class Call:
    def __init__(self, sdp):
        self.talker, self.answered, self.answer = Talker(), threading.Event(), ""
        self.pipeline = Gst.parse_launch(PIPELINE)
        self.peer, self.voice = (
            self.pipeline.get_by_name("peer"),
            self.pipeline.get_by_name("voice"),
        )
        self.peer.connect("pad-added", self.on_pad)
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)
        self.pipeline.set_state(Gst.State.PLAYING)
        _, message = GstSdp.SDPMessage.new_from_text(sdp)
        offer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, message)
        self.peer.emit(
            "set-remote-description", offer, Gst.Promise.new_with_change_func(self.on_offer)
        )
        threading.Thread(target=self.speak, daemon=True).start()

    def on_offer(self, _):
        self.peer.emit("create-answer", None, Gst.Promise.new_with_change_func(self.on_answer))

    def on_answer(self, promise):
        reply = promise.get_reply()  # it owns the answer
        answer = reply.get_value("answer")
        self.peer.emit("set-local-description", answer, Gst.Promise.new())

    def on_gathering(self, *_):
        if (
            self.peer.get_property("ice-gathering-state")
            == GstWebRTC.WebRTCICEGatheringState.COMPLETE
        ):
            self.answer = self.peer.get_property("local-description").sdp.as_text()
            self.answered.set()

    def on_pad(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        listener = Gst.parse_bin_from_description(LISTEN, True)
        self.pipeline.add(listener)
        listener.get_by_name("ear").connect("new-sample", self.on_sample)
        listener.sync_state_with_parent()
        pad.link(listener.get_static_pad("sink"))

    def on_sample(self, ear):
        buffer = ear.emit("pull-sample").get_buffer()
        self.talker.hear(np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.int16))
        return Gst.FlowReturn.OK

    def speak(self):
        while True:
            time.sleep(0.005)
            if self.talker.is_due():
                self.say(tone(RATE_HZ))

    def say(self, samples):
        clock = self.pipeline.get_clock()
        first_ns = clock.get_time() - self.pipeline.get_base_time()
        start_s = time.monotonic()
        for number in range(len(samples) // SAMPLES):
            time.sleep(max(0, start_s + number * FRAME_S - time.monotonic()))
            frame = samples[number * SAMPLES : (number + 1) * SAMPLES]
            buffer = Gst.Buffer.new_wrapped(struct.pack(f"<{SAMPLES}h", *frame))
            buffer.pts, buffer.duration = first_ns + int(number * FRAME_S * 1e9), int(FRAME_S * 1e9)
            self.voice.emit("push-buffer", buffer)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = Call(body["sdp"])
        calls.append(call)
        call.answered.wait(10)
        answer = json.dumps({"sdp": call.answer, "type": "answer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
server.serve_forever()
