"""An agent that dials, with pipecat's voicemail detector and PJSIP (PJSUA2): it calls the URL in
the body of each `POST`, and writes its verdict of each call to a log.

Transcripts and classifier are scripted: speech of up to 1.9 s is a person's, longer speech that of
a mailbox, and the classifier errs in a share of the calls. The pauses, the decision and its
delays are pipecat's. Arguments: the port of HTTP, the log, the share of errors.
"""

import asyncio
import gc
import json
import random
import sys
import time
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np
import pjsua2 as pj
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.classifiers.base_classifier import BaseClassifier, ChoiceResult
from pipecat.extensions.voicemail.voicemail_detector import VoicemailDetector
from pipecat.frames.frames import (
    InputAudioRawFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner

HOST, RATE_HZ, FRAME_MS = "127.0.0.1", 8_000, 20
SIZE = RATE_HZ * FRAME_MS // 1_000
LONG_S, PATIENCE_S, END_S = 1.9, 7.0, 0.2
PORT, LOG, ERRORS = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
rng = random.Random(1)
WORDS = (np.random.default_rng(7).normal(0, 4_000, 3 * RATE_HZ)).astype(np.int16)
endpoint = pj.Endpoint()
kept: list = []


def level_of_beep(samples):
    """Return the share of a frame's power at 1 kHz."""
    wave = samples.astype(float)
    power = (wave**2).sum()
    if power < SIZE * 200**2:
        return 0.0
    tone = np.exp(-2j * np.pi * 1_000 * np.arange(len(wave)) / RATE_HZ)
    return 2 * abs((wave * tone).sum()) ** 2 / len(wave) / power


class Classifier(BaseClassifier):
    """A scripted model."""

    def __init__(self, errs):
        super().__init__()
        self._errs = errs

    @property
    def model(self):
        return "scripted"

    async def _ask(self, state, questions, images=()):
        is_mailbox = ("leave a message" in state) is not self._errs
        choice = "voicemail" if is_mailbox else "conversation"
        return {
            name: ChoiceResult(choice=choice, probabilities={choice: 1.0}, confidence=1.0)
            for name in questions
        }, None


class Ears(FrameProcessor):
    """The turns and the transcripts of the callee."""

    def __init__(self):
        super().__init__()
        self._since = 0.0

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._since = time.monotonic()
            await self.push_frame(UserStartedSpeakingFrame())
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            spoken_s = time.monotonic() - self._since
            await self.push_frame(UserStoppedSpeakingFrame())
            text = "you've reached us, leave a message" if spoken_s > LONG_S else "hello?"
            await self.push_frame(TranscriptionFrame(text, "callee", ""))


class Talker(FrameProcessor):
    """The scripted answers, as speech: one for each transcript."""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, (TranscriptionFrame, TTSSpeakFrame)):
            size = RATE_HZ if isinstance(frame, TranscriptionFrame) else 2 * RATE_HZ
            await self.push_frame(TTSStartedFrame())
            await self.push_frame(TTSAudioRawFrame(WORDS[:size].tobytes(), RATE_HZ, 1))
            await self.push_frame(TTSStoppedFrame())
        else:
            await self.push_frame(frame, direction)


class Mouth(FrameProcessor):
    def __init__(self, call):
        super().__init__()
        self._call = call

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._call.play(frame.audio)
        await self.push_frame(frame, direction)


class Call(pj.Call):
    """A call. PJSIP plays and records files, because its threads must not wait for Python."""

    def __init__(self, account):
        super().__init__(account, pj.PJSUA_INVALID_ID)
        self.log: dict = {"call_id": None, "verdict": None, "spoke_ns": None, "beep_end_ns": None}
        self.is_over = False
        self._media = self._recorder = self._file = None
        self._players: list = []
        self._started_ns = self._heard = self._beeps = self._speaks_until_ns = 0

    def onCallState(self, prm):
        info = self.getInfo()
        self.log["call_id"] = info.callIdString or self.log["call_id"]
        self.is_over = self.is_over or info.state == pj.PJSIP_INV_STATE_DISCONNECTED

    def onCallMediaState(self, prm):
        if self._media is None:
            self._path = f"heard-{id(self)}.wav"
            self._media, self._recorder = self.getAudioMedia(-1), pj.AudioMediaRecorder()
            self._recorder.createRecorder(self._path)
            self._media.startTransmit(self._recorder)
            self._started_ns = time.monotonic_ns()
            self._file = Path(self._path).open("rb")  # noqa: SIM115
            self._file.read(44)

    def heard(self):
        """Return what was recorded since the last time."""
        data = self._file.read() if self._file else b""
        data = data[: len(data) // 2 * 2]
        samples = np.frombuffer(data, np.int16)
        for at in range(0, len(samples) - SIZE + 1, SIZE):
            is_beep = level_of_beep(samples[at : at + SIZE]) > 0.8
            self._beeps = self._beeps + 1 if is_beep else 0
            if self._beeps >= 5:
                end = self._heard + at + SIZE
                self.log["beep_end_ns"] = self._started_ns + end * 10**9 // RATE_HZ
        self._heard += len(samples)
        return data

    def play(self, audio):
        path = f"said-{len(audio)}.wav"
        with wave.open(path, "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes(audio)
        player = pj.AudioMediaPlayer()
        player.createPlayer(path, pj.PJMEDIA_FILE_NO_LOOP)
        player.startTransmit(self._media)
        self._players.append(player)
        now_ns = time.monotonic_ns()
        self.log["spoke_ns"] = self.log["spoke_ns"] or now_ns
        self._speaks_until_ns = now_ns + len(audio) * 10**9 // (2 * RATE_HZ)

    @property
    def is_speaking(self):
        return time.monotonic_ns() < self._speaks_until_ns

    def bye(self):
        if not self.is_over:
            with suppress(pj.Error):
                self.hangup(pj.CallOpParam(True))


async def talk(account, url):
    call = Call(account)
    kept.append(call)
    call.makeCall(url, pj.CallOpParam(True))
    errs, hangs_up = rng.random() < ERRORS, rng.random() < 0.4
    detector = VoicemailDetector(classifier=Classifier(errs))
    silero = SileroVADAnalyzer(sample_rate=RATE_HZ, params=VADParams(stop_secs=0.3))
    pipeline = Pipeline(
        [
            VADProcessor(vad_analyzer=silero),
            Ears(),
            detector.detector(),
            Talker(),
            detector.gate(),
            Mouth(call),
        ]
    )
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        idle_timeout_secs=None,
        enable_rtvi=False,
    )

    async def end_when_said():
        while call.is_speaking:
            await asyncio.sleep(0.02)
        await asyncio.sleep(END_S)
        call.bye()

    @detector.event_handler("on_conversation_detected")
    async def person(_):
        call.log["verdict"] = "person"

    @detector.event_handler("on_voicemail_detected")
    async def mailbox(processor):
        call.log["verdict"] = "mailbox"
        if not hangs_up:
            await processor.push_frame(TTSSpeakFrame("Please call me back."))
            await asyncio.sleep(0.2)
        ending.append(asyncio.create_task(end_when_said()))

    ending: list = []
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    loud_ns = time.monotonic_ns()
    while not call.is_over:
        await asyncio.sleep(0.06)
        if data := call.heard():
            await worker.queue_frame(InputAudioRawFrame(data, RATE_HZ, 1))
            if np.abs(np.frombuffer(data, np.int16).astype(int)).max() > 500 or call.is_speaking:
                loud_ns = time.monotonic_ns()
        if time.monotonic_ns() - loud_ns > PATIENCE_S * 1e9 and call.log["verdict"] == "person":
            call.bye()
    await worker.cancel()
    await running
    call.heard()
    call._recorder = call._file = None
    call._players.clear()
    with open(LOG, "a") as file:
        print(json.dumps(call.log), file=file)


async def main():
    gc.disable()  # PJSIP ends the process if another thread frees its objects
    logger.remove()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.uaConfig.maxCalls = 30
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.medConfig.clockRate = config.medConfig.sndClockRate = RATE_HZ
    config.medConfig.maxMediaPorts = 2_000
    config.medConfig.noVad = True
    config.medConfig.ecTailLen = 0
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.port, transport.boundAddress = 0, HOST
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU") else 0)
    endpoint.audDevManager().setNullDev()
    account, settings = pj.Account(), pj.AccountConfig()
    settings.idUri = f"sip:agent@{HOST}"
    account.create(settings)
    tasks = set()

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        url = (await reader.readexactly(length)).decode()
        task = asyncio.create_task(talk(account, url))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    await asyncio.start_server(serve, HOST, PORT)
    print("ready", file=sys.stderr, flush=True)
    while True:
        for _ in range(20):
            if endpoint.libHandleEvents(0) <= 0:
                break
        await asyncio.sleep(0.005)


asyncio.run(main())
