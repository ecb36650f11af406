#!/bin/sh
# Software: ffmpeg 7.0.2 (the binary in imageio-ffmpeg 0.6.0, PyPI), its default decoder of Speex, and speexenc and speexdec 1.2.1 (Debian 12,
#           amd64: speex 1.2.1-2; its libraries are those of Debian 12).
# Expected: a recording of 4 s, which speexenc writes at 16 kHz (wideband) or 32 kHz (ultra-wideband), lasts 4 s, as in speexdec.
# Seen:     ffmpeg decodes 8 s. Each word lasts twice as long, one octave lower, and begins at twice its time. ffmpeg prints a duration of
#           4 s of the same file, and no warning. At 8 kHz (narrowband) the file lasts 4 s. With `-c:a libspeex` before the input, all
#           files last 4 s, but libspeex is not the default. ffmpeg 5.1.9 of Debian 12 decodes 4 s by default.
# Why:      old recordings of calls are in Speex, and speech services accept it (Google's SPEEX_WITH_HEADER_BYTE only at 16 kHz). The pause
#           between caller and agent is twice as long as it was: a reply after 0.5 s comes after 1 s. A recognizer hears a slow and deep
#           voice, and its word error rate is blamed on the codec. Tests with narrowband do not show it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    apt-get download speex=1.2.1-2 libspeex1=1.2.1-2 libspeexdsp1 libogg0 &&
        for package in *.deb; do dpkg -x "$package" root || exit 1; done
    python3 -m venv venv && venv/bin/pip install imageio-ffmpeg==0.6.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import array
import glob
import math
import os
import re
import subprocess
import wave

import imageio_ffmpeg

LENGTH_S = 4
CALLER_S, AGENT_S, WORD_S = 1.0, 1.7, 0.2  # when each one begins, and how long they speak: the pause is 0.5 s
TONE_HZ = 500
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
environment = {**os.environ, "LD_LIBRARY_PATH": os.path.abspath(glob.glob("root/usr/lib/*-linux-gnu")[0])}


def run(*command):
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ran.returncode:
        raise SystemExit(f"{command}\n{ran.stderr}")
    return ran.stderr


def write(path, rate_hz):
    samples = array.array("h", bytes(2 * LENGTH_S * rate_hz))
    for start_s in (CALLER_S, AGENT_S):
        for i in range(round(WORD_S * rate_hz)):
            samples[round(start_s * rate_hz) + i] = round(16_000 * math.sin(2 * math.pi * TONE_HZ * i / rate_hz))
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", None))
        file.writeframes(samples.tobytes())


def read(name, path):
    """Print and return the length, the pause between the words in s, and the pitch of the first word in Hz."""
    with wave.open(path) as file:
        rate_hz = file.getframerate()
        samples = array.array("h", file.readframes(file.getnframes()))
    words = []  # (first, last) sample
    for i, sample in enumerate(samples):
        if abs(sample) > 4000:
            if not words or i - words[-1][1] > 0.1 * rate_hz:
                words.append([i, i])
            words[-1][1] = i
    (start, end), (next_start, _) = words
    word = samples[start:end]
    crossings = sum((a < 0) != (b < 0) for a, b in zip(word, word[1:]))
    length_s, pause_s = len(samples) / rate_hz, (next_start - end) / rate_hz
    pitch_hz = crossings / 2 / (len(word) / rate_hz)
    print(f"  {name}: {length_s:.2f} s, the pause is {pause_s:.2f} s, the tone {pitch_hz:.0f} Hz", flush=True)
    return length_s, pause_s, pitch_hz


def is_right(seen, factor=1):
    length_s, pause_s, pitch_hz = seen
    return (
        abs(length_s - LENGTH_S * factor) < 0.1
        and abs(pause_s - 0.5 * factor) < 0.1
        and abs(pitch_hz - TONE_HZ / factor) < 25
    )


same = True
for rate_hz in (8000, 16_000, 32_000):
    write("call.wav", rate_hz)
    run("root/usr/bin/speexenc", "call.wav", "call.spx")
    log = run(FFMPEG, "-y", "-i", "call.spx", "ffmpeg.wav")
    print(f"speexenc at {rate_hz} Hz; ffmpeg prints Duration: {re.search('Duration: ([0-9:.]+)', log)[1]}")
    run(FFMPEG, "-y", "-c:a", "libspeex", "-i", "call.spx", "libspeex.wav")
    run("root/usr/bin/speexdec", "call.spx", "speexdec.wav")
    default = read("ffmpeg", "ffmpeg.wav")
    same &= is_right(default, factor=1 if rate_hz == 8000 else 2)
    same &= is_right(read("ffmpeg -c:a libspeex", "libspeex.wav"))
    same &= is_right(read("speexdec", "speexdec.wav"))
print("As described: wideband is decoded at half speed." if same else "CHANGED.")
raise SystemExit(0 if same else 1)
EOF
venv/bin/python show.py
