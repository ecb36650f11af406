#!/bin/sh
# Software: livekit-local-inference 0.2.7 (PyPI, Python), EOT, the detector of the end of a turn on the device (`turn-detector-v1-mini`
#           of LiveKit's agents), and sentences of Debian's asterisk-core-sounds-en-wav 1.6.1-1, at 16 kHz.
# Expected: the longer a caller is silent after a sentence, the more probable is the end of the turn. Digital silence is the clearest
#           silence, and no worse than silence with noise that no one hears.
# Seen:     with silence that consists of zeros, the probability rises until 0.6 s and then falls. Of 38 sentences, 97 % are over (above
#           the threshold of livekit-agents for English) after 0.6 s, 45 % after 1 s, and 11 % after 1.1 s. If the silence contains noise
#           of one least significant bit, 100 % are over after 0.6 s, and also after 1 s and 1.1 s. The detector hears the last 1.2 s. The
#           package documents this limit, and that it puts silence in front of a shorter input, but no difference between silences.
# Why:      muted microphones, gateways, and the recordings of simulated callers give zeros, and microphones do not. An application that
#           asks again while the caller is silent gets "not over" from the clean caller only, and waits for its time limit: the latency
#           of the test is that of no user. livekit-agents itself asks once, after 0.2 s of silence, when the two hardly differ.
# Takes about a minute.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    apt-get download asterisk-core-sounds-en-wav=1.6.1-1 && dpkg -x asterisk-core-sounds-en-wav_*.deb root &&
        python3 -m venv venv && venv/bin/pip install livekit-local-inference==0.2.7 numpy==2.4.6 scipy==1.17.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import glob
import wave

import numpy as np
from livekit.local_inference import EOT, EOT_MAX_SAMPLES
from scipy.signal import resample_poly

RATE_HZ = 16_000
THRESHOLD = 0.36  # for English, in livekit-agents 1.8.9
SILENCES_S = (0.3, 0.6, 0.9, 1.0, 1.1)
NOISES = {"zeros": 0, "noise of -90 dBFS": 1}


def sentences():
    """Return each fourth recording of more than 2.5 s, up to its last sound, at 16 kHz."""
    found = []
    for path in sorted(glob.glob("root/usr/share/asterisk/sounds/en_US_f_Allison/*.wav")):
        with wave.open(path) as file:
            if file.getnframes() > 2.5 * file.getframerate():
                samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(float)
                loud = np.flatnonzero(np.abs(samples) > 0.03 * np.abs(samples).max())
                found.append(resample_poly(samples[: loud[-1] + 1], RATE_HZ, 8000))
    return found[::4]


def main():
    detector = EOT()
    generator = np.random.default_rng(0)
    spoken = sentences()
    ended = {}
    for name, level in NOISES.items():
        for silence_s in SILENCES_S:
            probabilities = []
            for sentence in spoken:
                silence = generator.normal(0, 1, round(silence_s * RATE_HZ)) * level
                sound = np.concatenate([sentence, silence])[-EOT_MAX_SAMPLES:]
                probabilities.append(detector.predict(sound.clip(-32_768, 32_767).round().astype(np.int16)))
            ended[name, silence_s] = np.mean(np.array(probabilities) >= THRESHOLD)
            print(
                f"{silence_s} s of {name}: {ended[name, silence_s]:.0%} of {len(spoken)} sentences are over, "
                f"median probability {np.median(probabilities):.2f}"
            )
    same = (
        ended["zeros", 0.6] > 0.8
        and ended["zeros", 1.0] < 0.65
        and ended["zeros", 1.1] < 0.3
        and all(ended["noise of -90 dBFS", silence_s] > 0.9 for silence_s in SILENCES_S[1:])
    )
    print("As described: after a second of zeros, the turn goes on." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(main())
EOF
venv/bin/python -W ignore show.py
