"""An agent with PJSIP (PJSUA2), in the form of its documentation: an account without registration.
It prints its port.

Its default settings, except for one thread, no sound device, an address, and its codec: the
argument.
"""

import os
import sys

import numpy as np
import pjsua2 as pj
from ports import free_port
from python_talk import Talker
from sip_calls import HOST, write_tone

CODEC, RATE_HZ = sys.argv[1], 8_000 if sys.argv[1] == "PCMU" else 16_000
POLL_MS = 5
endpoint = pj.Endpoint()
calls: dict = {}


class Ear(pj.AudioMediaPort):
    """A port of the conference bridge that hears the caller."""

    def __init__(self, talker):
        super().__init__()
        self._talker = talker
        form = pj.MediaFormatAudio()
        form.type, form.clockRate, form.channelCount, form.bitsPerSample = (
            pj.PJMEDIA_TYPE_AUDIO,
            RATE_HZ,
            1,
            16,
        )
        form.frameTimeUsec = 20_000
        self.createPort("ear", form)

    def onFrameReceived(self, frame):
        self._talker.hear(np.frombuffer(bytes(frame.buf), np.int16))


class Call(pj.Call):
    def __init__(self, account, call_id):
        super().__init__(account, call_id)
        self._talker, self._media = Talker(), None
        self._ear = self._player = None

    def onCallState(self, prm):
        if self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED:
            calls.pop(id(self), None)

    def onCallMediaState(self, prm):
        self._media, self._ear = self.getAudioMedia(-1), Ear(self._talker)
        self._media.startTransmit(self._ear)

    def work(self):
        if self._media is not None and self._talker.is_due():
            self._player = pj.AudioMediaPlayer()
            self._player.createPlayer("voice.wav", pj.PJMEDIA_FILE_NO_LOOP)
            self._player.startTransmit(self._media)


class Account(pj.Account):
    def onIncomingCall(self, prm):
        call, answer = Call(self, prm.callId), pj.CallOpParam()
        calls[id(call)] = call
        answer.statusCode = 200
        call.answer(answer)


def main():
    write_tone("voice.wav", rate_hz=RATE_HZ)
    printing = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # it prints before its settings are known
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.logConfig.level = config.logConfig.consoleLevel = 0
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.port, transport.boundAddress = free_port(), HOST
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith(CODEC) else 0)
    endpoint.audDevManager().setNullDev()
    account, settings = Account(), pj.AccountConfig()
    settings.idUri = f"sip:agent@{HOST}"
    account.create(settings)
    print(transport.port, file=printing, flush=True)
    while True:
        endpoint.libHandleEvents(POLL_MS)
        for call in list(calls.values()):
            call.work()


main()
