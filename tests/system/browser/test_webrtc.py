"""Calls over WebRTC of a browser: its page speaks a recording to the simulator, and hears the
reply.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.simulator_process import AUDIO, quick_simulator
from tests.system.browser.chromium import installed, started

CALLS = 10
PAUSE_S = 8
"""The pause between two turns of the caller, which is longer than a reply."""
CALL = """async (url, codec) => {
  const microphone = await navigator.mediaDevices.getUserMedia({audio: true});
  const peer = new RTCPeerConnection(), start = performance.now(), instants = {}, events = [];
  const note = name => instants[name] ??= Math.round(10 * (performance.now() - start)) / 10;
  peer.onconnectionstatechange = () => note(peer.connectionState);
  peer.ontrack = event => {
    const player = new Audio();
    player.srcObject = event.streams[0] ?? new MediaStream([event.track]);
    player.play();
    event.track.onunmute = () => note("media");
  };
  const channel = peer.createDataChannel("oai-events");
  const done = new Promise((done, failed) => {
    channel.onclose = failed;
    channel.onmessage = message => {
      events.push(JSON.parse(message.data).type);
      if (events.at(-1) === "response.done") done();
    };
  });
  const transceiver = peer.addTransceiver(microphone.getTracks()[0]);
  const codecs = RTCRtpSender.getCapabilities("audio").codecs;
  transceiver.setCodecPreferences(codecs.filter(each => each.mimeType === `audio/${codec}`));
  await peer.setLocalDescription();
  note("offer");
  const headers = {"Content-Type": "application/sdp"}, body = peer.localDescription.sdp;
  const response = await fetch(`${url.replace("ws", "http")}/calls`, {method: "POST", headers, body});
  await peer.setRemoteDescription({type: "answer", sdp: await response.text()});
  note("answer");
  await done;
  let report, heard = {};
  while (!(heard.totalAudioEnergy > 0.001)) {
    await new Promise(done => setTimeout(done, 50));
    report = await peer.getStats();
    heard = [...report.values()].find(each => each.type === "inbound-rtp");
  }
  peer.close();
  microphone.getTracks().forEach(track => track.stop());
  return {
    instants, events, codec: report.get(heard.codecId).mimeType, packets: heard.packetsReceived,
  };
}"""


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_the_page_of_a_browser_speaks_with_the_simulator(tmp_path: Path, codec: str) -> None:
    if installed() is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    samples, rate = soundfile.read(AUDIO / "order_number.wav", dtype="int16")
    # Chromium plays a file of another rate more slowly. On a loaded machine, a turn may be over
    # before the call is connected, so it is spoken again after a pause.
    turn = np.concatenate([samples, np.zeros(PAUSE_S * rate, np.int16)])
    soundfile.write(tmp_path / "turn.wav", turn.repeat(48_000 // rate), 48_000, subtype="PCM_16")
    (tmp_path / "page.html").write_text("<!doctype html><title>call</title>", encoding="utf-8")
    devices = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--disable-web-security",
        "--autoplay-policy=no-user-gesture-required",
        "--allow-loopback-in-peer-connection",
        f"--use-file-for-fake-audio-capture={tmp_path / 'turn.wav'}",
    )
    packets: list[int] = []
    with (
        quick_simulator(tmp_path) as ready,
        started(tmp_path / "profile", *devices) as browser,
        browser.page(tmp_path / "page.html", 400, 300, "light") as page,
    ):
        for _ in range(CALLS):
            expression = f"({CALL})({ready.urls['openai'].partition('?')[0]!r}, {codec!r})"
            found = page.ask(
                "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
            )
            assert "exceptionDetails" not in found, found
            call = found["result"]["value"]

            print({name: value for name, value in call.items() if name != "events"})
            assert call["codec"] == f"audio/{codec}"
            assert {"connected", "media"} <= call["instants"].keys()
            assert {"input_audio_buffer.speech_stopped", "response.done"} <= set(call["events"])
            packets.append(call["packets"])
    # of a typical call, because each one depends on the load of the machine
    assert sorted(packets)[CALLS // 2] > 50
