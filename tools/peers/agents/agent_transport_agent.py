"""An agent with agent-transport, in the form of its example `phone`, which registers with Kamailio.
It prints the port.

Kamailio is its provider: a registrar, which forwards calls over the connection by which the agent
registered.
"""

import signal
import sys
import threading
import time

import kamailio
import numpy as np
from agent_transport import AudioFrame, SipEndpoint
from python_talk import FRAME_S, TONE_S, Talker, tone
from sip_calls import RATE_HZ

PROVIDER, PORT, USER = "127.0.0.9", 5060, "agent"
"""The endpoint registers only at the port 5060."""
BEGIN = """if (is_method("REGISTER")) { save("location"); exit; }
    record_route();
    if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }"""


class Agent:
    def __init__(self, endpoint, call):
        self._endpoint, self._call, self.is_open, self._talker = endpoint, call, True, Talker()
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._speak, daemon=True).start()

    def _listen(self):
        while self.is_open:
            frame = self._endpoint.recv_audio_blocking(self._call, 20)
            if frame is not None:
                self._talker.hear(np.array(frame.data, np.int16))

    def _speak(self):
        """Send pieces of 20 ms at the rate of real time, as a microphone does. Its buffer takes
        no whole utterance.
        """
        while self.is_open:
            time.sleep(0.005)
            if self._talker.is_due():
                start_s = time.monotonic()
                for number, piece in enumerate(np.split(tone(RATE_HZ), int(TONE_S / FRAME_S))):
                    time.sleep(max(0, start_s + number * FRAME_S - time.monotonic()))
                    self._endpoint.send_audio(self._call, AudioFrame(piece.tolist(), RATE_HZ, 1))


def main():
    proxy = kamailio.started(
        [f"{transport}:{PROVIDER}:{PORT}" for transport in ("udp", "tcp")],
        ["usrloc", "registrar"],
        'modparam("usrloc", "db_mode", 0)',
        BEGIN,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        endpoint, agents = registered(), {}
        print(PORT, flush=True)
        while True:
            event = endpoint.wait_for_event(timeout_ms=1_000)
            if event is None or "session" not in event:
                continue
            call = event["session"].session_id
            if event["type"] == "call_answered":
                agents[call] = Agent(endpoint, call)
            elif event["type"] == "call_terminated" and call in agents:
                agents.pop(call).is_open = False
    finally:
        proxy.terminate()
        proxy.wait()


def registered():
    """Return an endpoint that has registered. Kamailio needs some time to start."""
    while True:
        try:
            endpoint = SipEndpoint(sip_server=PROVIDER, stun_server=f"{PROVIDER}:3478")
            endpoint.register(USER, USER)
            return endpoint
        except RuntimeError:
            time.sleep(0.2)


main()
