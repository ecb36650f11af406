#!/bin/sh
# Software: PulseAudio 16.1+dfsg1-2+b1 (Debian 12, amd64), its programs pacat (plays what it reads) and parec (writes what it records), a
#           virtual cable (`module-null-sink` and its monitor) between them, 8 kHz mono. Its libraries are those of Debian 12.
# Expected: a word that a live program writes to pacat is on the cable, and read from parec, some 0.1 s later. There is no device, so
#           nothing needs a large buffer, and the server is idle.
# Seen:     pacat begins to play when it has 2 s of sound, so each word is 2 s late until the end of the call. parec gives the sound in
#           blocks of 2 s. With both, the delay of a word is a number from 2 to 4 s, as the word falls. If pacat has `--latency-msec=20`
#           and parec does not, the delay is constant in a call, and from 0 to 2 s, as the start of the call falls. With the option on
#           both, it is 0.04 s. The manual says of the default that the server picks a latency, "usually relatively high for power
#           saving reasons", and states no value.
# Why:      such a cable is a usual way to give a browser, or a softphone, a simulated caller. A response latency that is measured at the
#           pipes contains seconds of the tools. It is a random number: of two turns with the same latency, one seems more than 1 s
#           slower. A caller with a live source of sound, whose turn is shorter than 2 s, is not heard before he goes on, or closes the pipe.
# Takes about a minute and a half.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    version=16.1+dfsg1-2+b1
    apt-get download pulseaudio=$version pulseaudio-utils=$version libpulse0=$version libltdl7 libcap2 libwrap0 libasyncns0 \
        libsndfile1 libflac12 libmp3lame0 libmpg123-0 libogg0 libopus0 libvorbis0a libvorbisenc2 libsoxr0 libgomp1 libspeexdsp1 \
        liborc-0.4-0 libtdb1 libdbus-1-3 libx11-6 libx11-xcb1 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 &&
        for package in *.deb; do dpkg -x "$package" root || exit 1; done
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import array
import glob
import os
import subprocess
import threading
import time

RATE_HZ = 8000
FRAME = 160  # samples, 20 ms
LEAD_S, EVERY_S, WORD_S = 1.0, 1.3, 0.2  # the first word, the time between two of them, and their length
WORDS = 8
LEVEL = 2000  # of the first word; the second one has twice this level, and so on
SETTLE_S = 3.0  # from the start of the recorder to that of the player
TOTAL_S = 16.0
LATENCY = "--latency-msec=20"
FORMAT = ("--raw", "--format=s16le", f"--rate={RATE_HZ}", "--channels=1")

here = os.getcwd()
modules = os.path.dirname(glob.glob(f"{here}/root/usr/lib/**/module-null-sink.so", recursive=True)[0])
libraries = {os.path.dirname(path) for path in glob.glob(f"{here}/root/**/*.so*", recursive=True)}
environment = {
    **os.environ,
    "LD_LIBRARY_PATH": ":".join(sorted(libraries)),
    "HOME": here,
    "XDG_RUNTIME_DIR": here,
    "PULSE_SERVER": f"unix:{here}/native",
    "LC_ALL": "C",
}


def start_server():
    server = subprocess.Popen(
        [
            "root/usr/bin/pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
            "--disable-shm=yes", f"--dl-search-path={modules}",
            "-L", f"module-null-sink sink_name=cable rate={RATE_HZ} channels=1",
            "-L", f"module-native-protocol-unix auth-anonymous=1 socket={here}/native",
        ],
        env=environment,
        stderr=open("server.log", "w"),
    )  # fmt: skip
    until_s = time.monotonic() + 20
    while not os.path.exists("native") and server.poll() is None and time.monotonic() < until_s:
        time.sleep(0.1)
    if not os.path.exists("native"):
        print(open("server.log").read())
        raise SystemExit(2)
    return server


def delays(name, player_options, recorder_options):
    """Print and return how long after it was written each word was read, in s."""
    recorder = subprocess.Popen(
        ["root/usr/bin/parec", "--device=cable.monitor", *FORMAT, *recorder_options],
        env=environment,
        stdout=subprocess.PIPE,
    )
    heard_s = {}

    def listen():
        odd = b""
        while block := os.read(recorder.stdout.fileno(), 65_536):
            read_s = time.monotonic()
            block = odd + block
            even = len(block) & ~1
            odd = block[even:]
            for level in {abs(sample) for sample in array.array("h", block[:even])} - {0}:
                heard_s.setdefault(level // LEVEL - 1, read_s)

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(SETTLE_S)
    player = subprocess.Popen(
        ["root/usr/bin/pacat", "--playback", "--device=cable", *FORMAT, *player_options],
        env=environment,
        stdin=subprocess.PIPE,
    )
    said_s = {}
    started_s = time.monotonic()
    for i in range(round(TOTAL_S * 50)):
        time.sleep(max(0.0, started_s + i * 0.02 - time.monotonic()))
        word, into_s = divmod(i * 0.02 - LEAD_S + 1e-6, EVERY_S)
        level = 0
        if 0 <= word < WORDS and into_s < WORD_S:
            level = LEVEL * (int(word) + 1)
            said_s.setdefault(int(word), time.monotonic())
        player.stdin.write(array.array("h", ([level] * 10 + [-level] * 10) * (FRAME // 20)).tobytes())
        player.stdin.flush()
    for process in (player, recorder):
        process.terminate()
        process.wait()
    listener.join()
    found_s = [heard_s[word] - said_s[word] for word in sorted(heard_s)]
    print(f"{name}: {' '.join(f'{delay_s:.2f}' for delay_s in found_s)} s", flush=True)
    return found_s


server = start_server()
try:
    print("delay of each word")
    both = delays("default settings", [], [])
    player = delays(f"parec {LATENCY}", [], [LATENCY])
    recorder = delays(f"pacat {LATENCY}", [LATENCY], [])
    neither = delays(f"both {LATENCY}", [LATENCY], [LATENCY])
finally:
    server.terminate()
    server.wait()
same = (
    max(neither) < 0.5
    and all(1.5 < delay_s < 2.5 for delay_s in player)
    and max(recorder) < 2.5
    and max(recorder) - min(recorder) < 0.3
    and 1.5 < min(both)
    and 3 < max(both) < 4.5
    and max(both) - min(both) > 1
)
print("As described: the tools are late by seconds." if same else "CHANGED.")
raise SystemExit(0 if same else 1)
EOF
python3 show.py
