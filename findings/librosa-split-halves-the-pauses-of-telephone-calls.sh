#!/bin/sh
# Software: librosa 0.11.0 with numpy 2.4.6 (PyPI, Python), `librosa.effects.split` with its default settings. It returns the intervals of
#           a recording that are not silent.
# Expected: the pause between the end of the caller and the start of the agent is as long as it is in the recording, or wrong by a hop
#           (512 samples, 64 ms at 8 kHz), up or down, at each sample rate.
# Seen:     each pause is too short, always, and how much depends on the sample rate: 0.22 to 0.30 s at 8 kHz, and 0.05 s at 48 kHz. A
#           reply after 0.5 s comes after 0.26 s in a telephone recording, and after 0.46 s in the same recording at 48 kHz. Pauses of
#           0.2 s and 0.3 s do not exist at 8 kHz. A frame (2,048 samples) with any sound in it is not silent, so each interval begins
#           about half a frame before the sound, and ends half a frame after it. The function does not get the sample rate. Its
#           documentation gives the defaults in samples, and does not say that the intervals are longer than the sound.
# Why:      people measure the latency of replies, and the stalls within them, by such intervals. A telephone agent seems twice as fast
#           as it is, and 0.2 s faster than the same agent behind WebRTC. Stalls of 0.3 s are not found. With `frame_length=160,
#           hop_length=80` at 8 kHz, the pauses are right to 0.01 s.
# Takes about a minute.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install librosa==0.11.0 numpy==2.4.6
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import librosa
import numpy as np

PAUSES_S = (0.2, 0.3, 0.5, 0.8, 1.2)  # the caller and the agent speak in turn, 1 s each, with these pauses
RATES_HZ = (8000, 16_000, 24_000, 48_000)


def recording(rate_hz):
    """Return tones of 1 s with the pauses between them, and noise that is 66 dB below the tones."""
    total_s = 2 + sum(PAUSES_S) + len(PAUSES_S)
    time_s = np.arange(round(total_s * rate_hz)) / rate_hz
    speaks = np.zeros(len(time_s), dtype=bool)
    start_s = 0.5
    for pause_s in (*PAUSES_S, 0):
        speaks |= (start_s <= time_s) & (time_s < start_s + 1)
        start_s += 1 + pause_s
    noise = np.random.default_rng(1).normal(0, 1e-4, len(time_s))
    return 0.3 * np.sin(2 * np.pi * 300 * time_s) * speaks + noise


def pauses(rate_hz, **settings):
    """Print and return the pauses in s between the intervals that are not silent."""
    intervals = librosa.effects.split(recording(rate_hz), **settings) / rate_hz
    found_s = [float(after - before) for (_, before), (after, _) in zip(intervals, intervals[1:])]
    print(f"{rate_hz} Hz, {settings or 'default settings'}: pauses {' '.join(f'{pause_s:.3f}' for pause_s in found_s)} s")
    return found_s


print(f"the recording: pauses {' '.join(f'{pause_s:.3f}' for pause_s in PAUSES_S)} s")
telephone, _, _, wide = [pauses(rate_hz) for rate_hz in RATES_HZ]
fine = pauses(8000, frame_length=160, hop_length=80)
same = (
    len(telephone) == 3  # of the pauses of 0.5 s and more
    and all(0.2 < true_s - found_s < 0.35 for found_s, true_s in zip(telephone, PAUSES_S[2:]))
    and len(wide) == len(PAUSES_S)
    and all(0.02 < true_s - found_s < 0.06 for found_s, true_s in zip(wide, PAUSES_S))
    and len(fine) == len(PAUSES_S)
    and all(abs(true_s - found_s) < 0.02 for found_s, true_s in zip(fine, PAUSES_S))
)
print("As described: pauses at 8 kHz are too short by a frame." if same else "CHANGED.")
raise SystemExit(0 if same else 1)
EOF
venv/bin/python show.py
