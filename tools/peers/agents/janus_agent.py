"""Two agents with Janus: `echo` is its EchoTest, and `bridge` a participant in its AudioBridge.

Janus has its default settings, except for the port of its HTTP API. Each call gets a room of its
own, in which the agent is a plain participant over RTP. Run as a program, it prints its port.
"""

import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from g711 import decode, encode
from ports import free_port
from python_talk import FRAME_S, Talker, tone

RATE_HZ, SAMPLES = 8_000, 160
CONFIGS = {
    "janus.jcfg": "general: { debug_level = 3 }",
    "janus.transport.http.jcfg": 'general: { http = true, ip = "127.0.0.1", port = PORT }',
    "janus.plugin.audiobridge.jcfg": "general: {}",
    "janus.plugin.echotest.jcfg": "general: {}",
}
rooms = itertools.count(1)


class Session:
    """A session with Janus by its HTTP API, with one handle of a plugin."""

    def __init__(self, api, plugin):
        self._url = api
        self._url += f"/{self._post({'janus': 'create'})['data']['id']}"
        session = self._url
        handle = self._post({"janus": "attach", "plugin": f"janus.plugin.{plugin}"})["data"]["id"]
        self._handle, self._session, self._events, self._has_event = (
            f"{session}/{handle}",
            session,
            [],
            threading.Event(),
        )
        threading.Thread(target=self._poll, daemon=True).start()

    def _post(self, body, url=None):
        data = json.dumps({**body, "transaction": "t"}).encode()
        request = urllib.request.Request(
            url or self._url, data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def _poll(self):
        while True:
            try:
                with urllib.request.urlopen(f"{self._session}?maxev=1", timeout=60) as response:
                    event = json.load(response)
            except OSError:
                return
            if event.get("janus") == "event":
                self._events.append(event)
                self._has_event.set()

    def request(self, body, jsep=None, *, wanted=""):
        """Return the answer of a synchronous request, or the first event with an answer (jsep),
        or the wanted field.
        """
        self._has_event.clear()
        answer = self._post(
            {"janus": "message", "body": body} | ({"jsep": jsep} if jsep else {}), self._handle
        )
        if answer["janus"] == "success":
            return answer
        until_s = time.monotonic() + 10
        while time.monotonic() < until_s:
            self._has_event.wait(0.05)
            self._has_event.clear()
            while self._events:
                event = self._events.pop(0)
                if "jsep" in event if jsep else not wanted or wanted in event["plugindata"]["data"]:
                    return event
        raise TimeoutError(f"Janus did not answer {body}")


class Participant:
    """The agent in a room, as a plain participant over RTP."""

    def __init__(self, api, room):
        self._talker, self._socket = Talker(), socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._session = Session(api, "audiobridge")
        own = {"ip": "127.0.0.1", "port": self._socket.getsockname()[1], "payload_type": 0}
        joined = self._session.request(
            {"request": "join", "room": room, "codec": "pcmu", "rtp": own}, wanted="rtp"
        )
        there = joined["plugindata"]["data"]["rtp"]
        self._peer = there["ip"], there["port"]
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._speak, daemon=True).start()

    def _listen(self):
        while packet := self._socket.recv(2_000):
            self._talker.hear(decode(packet[12:]))

    def _speak(self):
        """Send silence, and a tone for each utterance: the bridge hears a participant from its
        first packet on.
        """
        start_s, rest = time.monotonic(), np.zeros(0, np.int16)
        for number in itertools.count():
            time.sleep(max(0, start_s + number * FRAME_S - time.monotonic()))
            if self._talker.is_due():
                rest = tone(RATE_HZ)
            samples, rest = rest[:SAMPLES], rest[SAMPLES:]
            header = struct.pack(
                "!BBHII", 0x80, 0 if number else 0x80, number & 0xFFFF, number * SAMPLES, 7
            )
            self._socket.sendto(
                header + encode(np.pad(samples, (0, SAMPLES - len(samples)))).tobytes(), self._peer
            )


def echo(api, offer):
    session = Session(api, "echotest")
    return session, session.request({"audio": True}, offer)["jsep"]["sdp"]


def bridge(api, offer):
    room = next(rooms)
    caller = Session(api, "audiobridge")
    caller.request({"request": "create", "room": room, "allow_rtp_participants": True})
    agent = Participant(api, room)
    caller.request({"request": "join", "room": room})
    answer = caller.request({"request": "configure", "muted": False}, offer)
    return (caller, agent), answer["jsep"]["sdp"]


def main():
    answer_to, port, calls = {"echo": echo, "bridge": bridge}[sys.argv[1]], free_port(), []
    api = f"http://127.0.0.1:{port}/janus"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            call, sdp = answer_to(api, {"type": "offer", "sdp": body["sdp"]})
            calls.append(call)
            answer = json.dumps({"sdp": sdp, "type": "answer"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with tempfile.TemporaryDirectory() as folder:
        for name, text in CONFIGS.items():
            (Path(folder) / name).write_text(text.replace("PORT", str(port)))
        with (
            open(os.devnull, "w") as nothing,
            subprocess.Popen(["janus", "-F", folder], stdout=nothing) as janus,
        ):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            try:
                while not is_up(port):
                    time.sleep(0.1)
                server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
                print(server.server_address[1], flush=True)
                server.serve_forever()
            finally:
                janus.terminate()


def is_up(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


main()
