#!/bin/sh
# Software: livekit 1.2.1 (PyPI, Python), rtc.AudioProcessingModule with noise_suppression=True (the audio processing of WebRTC), and
#           voices of Debian's asterisk-core-sounds-en-wav 1.6.1-1, at 16 kHz.
# Expected: the noise suppressor takes nothing from a clean recording: there is no noise in it. If a long silence precedes the first
#           word, the suppressor knows the noise even better.
# Seen:     it takes 6 dB (median) from the first word of a call, and up to 10 dB, if samples of zero precede this word, for 0.5 s or for
#           20 s. The second word, after 3 s of zeros, loses 0.2 dB. If the silence contains noise of one least significant bit
#           (-90 dBFS), which no one hears, 0.5 s of it suffice, and the first word loses 0.2 dB, too. The suppressor does not learn from
#           frames of zeros, so the first speech is its first sample of the noise.
# Why:      simulated callers, muted microphones and gateways of telephone lines send zeros before the first word. The first word, which
#           can be a whole turn ("yes"), reaches the agent's detectors of speech at half to a third of its amplitude. Microphones
#           always have noise. A test with clean recordings thus measures a first turn that no user has, and unlike the turns after it.
# Takes about 20 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    apt-get download asterisk-core-sounds-en-wav=1.6.1-1 && dpkg -x asterisk-core-sounds-en-wav_*.deb root &&
        python3 -m venv venv && venv/bin/pip install livekit==1.2.1 numpy==2.4.6 scipy==1.17.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import glob
import os
import wave

import numpy as np
from livekit import rtc
from scipy.signal import resample_poly

RATE_HZ = 16_000
FRAME = RATE_HZ // 100
PAUSE_S = 3.0


def words():
    """Return ten recordings of one or two words (0.35 s to 0.9 s), at 16 kHz and half of their level."""
    found = []
    for path in sorted(glob.glob("root/usr/share/asterisk/sounds/en_US_f_Allison/*.wav")):
        with wave.open(path) as file:
            if 0.35 < file.getnframes() / file.getframerate() < 0.9:
                found.append(np.frombuffer(file.readframes(file.getnframes()), np.int16))
    chosen = found[:: len(found) // 10][:10]
    return [resample_poly(word.astype(float), RATE_HZ, 8000) * 0.5 for word in chosen]


def suppressed(sound):
    """Return the sound as the noise suppressor gives it back."""
    module = rtc.AudioProcessingModule(noise_suppression=True)
    frames = []
    for start in range(0, len(sound) - FRAME + 1, FRAME):
        samples = sound[start : start + FRAME].round().astype(np.int16)
        frame = rtc.AudioFrame(samples.tobytes(), RATE_HZ, 1, FRAME)
        module.process_stream(frame)
        frames.append(np.frombuffer(frame.data, np.int16).astype(float))
    return np.concatenate(frames)


def losses_db(word, lead_s, noise_level):
    """Return what the first and the second word lose, in dB, behind `lead_s` of silence."""
    lead, pause = np.zeros(round(lead_s * RATE_HZ)), np.zeros(round(PAUSE_S * RATE_HZ))
    clean = np.concatenate([lead, word, pause, word, pause[:RATE_HZ]])
    noise = np.random.default_rng(1).normal(0, 1, len(clean)) * noise_level
    heard = suppressed(clean + noise)
    starts = (len(lead), len(lead) + len(word) + len(pause))
    return [
        10 * np.log10(np.mean(word**2) / np.mean(heard[start : start + len(word)] ** 2))
        for start in starts
    ]


def main():
    medians = {}
    for name, lead_s, noise_level in (
        ("0.5 s of zeros", 0.5, 0),
        ("5 s of zeros", 5, 0),
        ("20 s of zeros", 20, 0),
        ("0.5 s of noise of -90 dBFS", 0.5, 1),
        ("5 s of noise of -90 dBFS", 5, 1),
    ):
        losses = np.array([losses_db(word, lead_s, noise_level) for word in words()])
        medians[name] = np.median(losses, axis=0)
        print(
            f"after {name}: the first word loses {medians[name][0]:.1f} dB (at most {losses[:, 0].max():.1f}), "
            f"the second one {medians[name][1]:.1f} dB (at most {losses[:, 1].max():.1f})"
        )
    same = all(
        (first > 5 if "zeros" in name else abs(first) < 1.5) and abs(second) < 1.5
        for name, (first, second) in medians.items()
    )
    print("As described: zeros before it suppress the first word." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(main())
EOF
venv/bin/python -W ignore show.py
