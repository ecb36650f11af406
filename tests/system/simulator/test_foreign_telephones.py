"""Telephones that share no code with this project can talk to the simulator's agent.

The simulator and the client share their code for SIP and RTP, so a mistake on both sides would not
be found otherwise.
"""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from bench.wire.audio import G711_RATE_HZ, G711_ULAW
from rtbench_simulator.ground_truth_log import read_truth
from rtbench_simulator.recorded_replies import load_replies, reply_samples
from tests.simulator_process import GUARD_S, patient_simulator, quick_simulator
from tools.peers.agents.ports import free_port

MODULES = Path("/usr/lib/baresip/modules")
SILENT_S, LOUD_S, LISTEN_S = 1.5, 0.5, 1.5
"""The durations of the caller's audio: silence while the greeting begins, noise, and silence
during the answer."""
LOUD = 2_000
SMALLEST_STEP = 8  # of the codes of G.711
HEARD_S = 0.2
"""The duration of the part of a reply that is compared."""


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@needs("sipp")
def test_the_calls_of_sipp_succeed(tmp_path: Path) -> None:
    with quick_simulator(tmp_path) as ready:
        command = [
            "sipp",
            f"127.0.0.1:{ready.port}",
            "-sn",
            "uac",
            "-i",
            "127.0.0.1",
            "-p",
            str(free_port()),
            "-m",
            "3",
        ]
        sipp = subprocess.run(
            [*command, "-r", "10", "-d", "100", "-nostdin", "-timeout", "60"],
            cwd=tmp_path,
            capture_output=True,
            timeout=GUARD_S,
            check=False,
        )

    assert sipp.returncode == 0, sipp.stdout[-2000:]


@needs("baresip")
@pytest.mark.skipif(not MODULES.is_dir(), reason="the modules of baresip are elsewhere")
@pytest.mark.parametrize("encryption", ["", "srtp-mand"])
def test_baresip_hears_the_agent_and_the_agent_hears_baresip(
    tmp_path: Path, encryption: str
) -> None:
    truth = tmp_path / "truth.jsonl"
    with patient_simulator(tmp_path, "--ground-truth", str(truth)) as ready:
        output = call(tmp_path, f"sip:agent@127.0.0.1:{ready.port}", encryption)

    assert "Call established" in output
    assert ";PL=0,0;" in output, "packets were lost, as the reports of RTCP say"
    (recording,) = tmp_path.glob("dump-*-dec.wav")
    with wave.open(str(recording)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    greeting = G711_ULAW.decode(
        G711_ULAW.encode(reply_samples(load_replies()[0], G711_ULAW))
    ).astype(float)
    begin, length = int((np.abs(greeting) > LOUD).argmax()), round(HEARD_S * G711_RATE_HZ)
    spoken = greeting[begin : begin + length]
    assert len(heard) > length, "nothing was heard"
    at = int(np.correlate(heard, spoken, "valid").argmax())
    assert np.abs(heard[at : at + length] - spoken).max() <= SMALLEST_STEP
    answers = [line for line in read_truth(truth) if line.get("utterance") == "answer"]
    assert answers, output


def call(folder: Path, url: str, encryption: str) -> str:
    """Call with baresip, which ends the call when its audio ends. Return its output."""
    noise = (
        np.random.default_rng(1)
        .normal(0, 6_000, round(LOUD_S * G711_RATE_HZ))
        .clip(-20_000, 20_000)
    )
    parts = (
        np.zeros(round(SILENT_S * G711_RATE_HZ)),
        noise,
        np.zeros(round(LISTEN_S * G711_RATE_HZ)),
    )
    with wave.open(str(folder / "caller.wav"), "wb") as file:
        file.setparams((1, 2, G711_RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.concatenate(parts).astype("<i2").tobytes())
    modules = ("account", "menu", "g711", "srtp", "sndfile", "aubridge", "aufile", "rtcpsummary")
    (folder / "config").write_text(
        f"module_path {MODULES}\nsip_listen 127.0.0.1:{free_port()}\nnet_interface"
        f" 127.0.0.1\nsnd_path {folder}\naudio_source aufile,{folder / 'caller.wav'}\naudio_player"
        f" aubridge,nil\naudio_alert aubridge,nil\nausrc_srate {G711_RATE_HZ}\nauplay_srate"
        f" {G711_RATE_HZ}\nausrc_channels 1\nauplay_channels 1\n"
        + "".join(f"module {name}.so\n" for name in modules)
    )
    media = f";mediaenc={encryption}" if encryption else ""
    (folder / "accounts").write_text(f"<sip:caller@127.0.0.1>;regint=0{media}\n")
    lines = []
    with subprocess.Popen(
        ["stdbuf", "-oL", "baresip", "-4", "-f", folder, "-e", f"/dial {url}", "-t", f"{GUARD_S}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "terminated (duration" in line:
                process.terminate()
    return "".join(lines)
