#!/bin/sh
# Software: ffmpeg 7.0.2 (the binary in imageio-ffmpeg 0.6.0, PyPI), the filters superequalizer, dialoguenhance and afftdn with their
#           default settings, on one leg of a call.
# Expected: a filter that changes the timbre, or the noise, leaves each word where it was, as dynaudnorm, afwtdn, adeclick, deesser and
#           loudnorm do. A filter that needs samples in advance takes its delay off, or its page of the manual states the delay, as those
#           of alimiter (`latency`) and firequalizer (`zero_phase`) do.
# Seen:     superequalizer makes a leg 4,096 samples late, dialoguenhance 1,536: at the 8 kHz of telephony 0.51 s and 0.19 s, at 48 kHz
#           0.09 s and 0.03 s. afftdn, the usual noise reduction, makes it 25 ms late at each rate. The file is as long as before: as
#           much silence is put in front as is cut off at the end. The timestamps, the log and the manual say nothing of it.
# Why:      people clean up one leg of a call before they measure the pause between caller and agent. If it is that of the caller, the
#           agent answers half a second earlier, and interrupts; if it is that of the agent, it is half a second slower. The
#           error depends on the sample rate, so that a telephone call seems slower than the same call through WebRTC.
# Takes about 15 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install imageio-ffmpeg==0.6.0 numpy==2.4.6
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import subprocess

import imageio_ffmpeg
import numpy as np

RATES_HZ = (8000, 16_000, 48_000)
LENGTH_S = 6
WORDS_S = (1, 2, 3, 4)
LATE_MS = {  # at each of the rates
    "superequalizer": (512, 256, 85),
    "dialoguenhance": (192, 96, 32),
    "afftdn": (25, 25, 25),
    "dynaudnorm": (0, 0, 0),
    "afwtdn": (0, 0, 0),
    "adeclick": (0, 0, 0),
    "deesser": (0, 0, 0),
    "loudnorm": (0, 0, 0),
}


def leg(rate_hz):
    """Return a leg with noise of 300 Hz to 3.4 kHz as words of 0.3 s, and a low noise."""
    generator = np.random.default_rng(1)
    sound = generator.normal(0, 1e-4, LENGTH_S * rate_hz)
    for start_s in WORDS_S:
        size = round(0.3 * rate_hz)
        spectrum = np.fft.rfft(generator.normal(0, 1, size))
        frequency_hz = np.fft.rfftfreq(size, 1 / rate_hz)
        spectrum[(frequency_hz < 300) | (frequency_hz > 3400)] = 0
        word = np.fft.irfft(spectrum, size) * np.hanning(size)
        sound[start_s * rate_hz : start_s * rate_hz + size] += word * 0.3 / np.abs(word).max()
    return (sound * 32_767).astype("<i2")


def filtered(sound, rate_hz, name):
    form = ("-f", "s16le", "-ar", str(rate_hz), "-ac", "1")
    command = (imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *form, "-i", "-", "-af", name, *form, "-")
    output = subprocess.run(command, input=sound.tobytes(), capture_output=True, check=True).stdout
    return np.frombuffer(output, "<i2")


def late_ms(before, after, rate_hz):
    """Return the shift at which the two sounds are most alike."""
    size = len(before) + len(after)
    alike = np.fft.irfft(np.fft.rfft(after, size) * np.conj(np.fft.rfft(before, size)), size)
    shift = int(np.argmax(np.abs(alike)))
    return 1000 * (shift if shift < size / 2 else shift - size) / rate_hz


def main():
    same = True
    print(f"late by, at {', '.join(str(rate_hz) for rate_hz in RATES_HZ)} Hz:")
    for name, described in LATE_MS.items():
        seen, lengths_s = [], []
        for rate_hz in RATES_HZ:
            before = leg(rate_hz)
            after = filtered(before, rate_hz, name)
            seen.append(late_ms(before, after, rate_hz))
            lengths_s.append(len(after) / rate_hz)
        print(f"  {name}: {', '.join(f'{ms:.0f}' for ms in seen)} ms; length {', '.join(f'{s:.2f}' for s in lengths_s)} s")
        same &= all(abs(ms - expected) < 3 for ms, expected in zip(seen, described, strict=True))
        same &= all(abs(length_s - LENGTH_S) < 0.01 for length_s in lengths_s)
    print("As described: some filters make the leg late." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(main())
EOF
venv/bin/python -W ignore show.py
