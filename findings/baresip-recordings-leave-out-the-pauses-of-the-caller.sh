#!/bin/sh
# Software: baresip 1.0.0 (Debian 12, amd64: baresip-core 1.0.0-4+b3, libre0 1.1.0-1+b2, librem0 0.6.0-4; the other libraries are those of
#           Debian 12), an agent that answers a call in PCMU and says back what it hears. Its module sndfile records both directions of
#           the call, one file each: dec.wav is the caller, enc.wav is the agent.
# Expected: a caller with silence suppression sends nothing in a pause, and the timestamps run on (RFC 3551 section 4.1). The two files
#           of one call have one time: each is as long as the call, and each answer comes as long after its question as it did.
# Seen:     the file of the caller has no pauses. In a call of 12 s, it lasts 3 s, and the file of the agent 12 s. The agent answers each
#           question within 0.5 s. In the files, the first answer comes after that time, the second one 4 s later than it did, and the
#           third one 8 s. If the caller sends silence in the pauses, both files have the same length, and all answers are right.
# Why:      people join the files to hear or to measure a call, and a test with callers that send always does not show the difference.
#           With real telephones, the latency grows with each pause of the caller, and the agent is blamed. A word of the caller that
#           interrupted the agent is where no one spoke.
# Takes about 40 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    apt-get download baresip-core=1.0.0-4+b3 libre0=1.1.0-1+b2 librem0=0.6.0-4 libsndfile1 libflac12 libmp3lame0 libmpg123-0 \
        libogg0 libopus0 libvorbis0a libvorbisenc2 &&
        for package in *.deb; do dpkg -x "$package" root || exit 1; done
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import array
import glob
import os
import socket
import struct
import subprocess
import time
import wave

RATE_HZ = 8000
PACKET = 160  # samples, 20 ms
QUESTIONS_S = (0.0, 5.0, 10.0)  # in each of these seconds the caller sends; the last fifth of it is silent
END_S = 12.0
LOUD, SILENT = b"\x90", b"\xff"  # mu-law


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(folder):
    """Start the agent, which records to `folder`; return its process and its port."""
    os.makedirs(folder)
    libraries = ":".join(glob.glob(os.path.abspath("root/usr/lib/*-linux-gnu")))
    modules = "".join(f"module {name}.so\n" for name in ("g711", "aubridge", "sndfile"))
    with open(f"{folder}/accounts", "w") as file:
        file.write("<sip:agent@127.0.0.1;transport=udp>;answermode=auto;regint=0;audio_codecs=pcmu/8000/1\n")
    open(f"{folder}/contacts", "w").close()
    for _ in range(10):  # The agent also needs the port behind its own, which can be in use.
        port = free_port()
        with open(f"{folder}/config", "w") as file:
            file.write(
                f"sip_listen 127.0.0.1:{port}\nmodule_path root/usr/lib/baresip/modules\n{modules}"
                "module_tmp account.so\nmodule_app menu.so\n"
                "audio_source aubridge,call\naudio_player aubridge,call\naudio_alert aubridge,alert\n"
                f"ausrc_format s16\nauplay_format s16\nauenc_format s16\naudec_format s16\nsnd_path {folder}\n"
            )
        log = open(f"{folder}/log", "w+")
        agent = subprocess.Popen(
            ["root/usr/bin/baresip", "-f", folder],
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        written = ""
        while agent.poll() is None and "baresip is ready" not in written:
            time.sleep(0.1)
            log.seek(0)
            written = log.read()
        if agent.poll() is None:
            return agent, port
    print(written)
    raise SystemExit(2)


def speak(media, port, sends_always):
    """Send the questions, and silence or nothing in the pauses."""
    started_s = time.monotonic()
    sequence = 100
    was_sent = False
    for i in range(round(END_S * 50)):
        time.sleep(max(0.0, started_s + i * 0.02 - time.monotonic()))
        second, packet = divmod(i, 50)
        asks = second in QUESTIONS_S
        if asks or sends_always:
            head = struct.pack(
                ">BBHII", 0x80, 0 if was_sent else 0x80, sequence, 5000 + i * PACKET, 0x1234
            )
            media.sendto(head + (LOUD if asks and packet < 40 else SILENT) * PACKET, ("127.0.0.1", port))
            sequence += 1
        was_sent = asks or sends_always


def call(folder, sends_always):
    agent, port = start(folder)
    signaling, media = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for one in (signaling, media):
        one.bind(("127.0.0.1", 0))
    signaling.settimeout(20)
    own = signaling.getsockname()[1]

    def send(method, number, to, body=""):
        signaling.sendto(
            (
                f"{method} sip:agent@127.0.0.1:{port} SIP/2.0\r\nMax-Forwards: 70\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK{method}{folder};rport\r\n"
                f"From: <sip:caller@127.0.0.1>;tag=1\r\nTo: {to}\r\nCall-ID: {folder}\r\n"
                f"CSeq: {number} {method}\r\nContact: <sip:caller@127.0.0.1:{own}>\r\n"
                f"{'Content-Type: application/sdp' + chr(13) + chr(10) if body else ''}"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode(),
            ("127.0.0.1", port),
        )

    def final_response():
        while True:
            response = signaling.recv(4000).decode()
            if not response.startswith("SIP/2.0 1"):
                assert response.startswith("SIP/2.0 200"), response
                return response

    try:
        sdp = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {media.getsockname()[1]} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
        send("INVITE", 1, "<sip:agent@127.0.0.1>", sdp)
        lines = final_response().splitlines()
        to = next(line[4:] for line in lines if line.startswith("To: "))
        send("ACK", 1, to)
        speak(media, int(next(line for line in lines if line.startswith("m=audio")).split()[1]), sends_always)
        send("BYE", 2, to)
        final_response()
    finally:
        time.sleep(1)
        agent.terminate()
        agent.wait()
        signaling.close()
        media.close()


def read(path):
    """Return the length of a file, and when each word begins, in s."""
    with wave.open(path) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE_HZ, 1)
        samples = array.array("h", file.readframes(file.getnframes()))
    words_s = []
    loud_s = -1.0
    for at in range(0, len(samples), 80):
        if max(map(abs, samples[at : at + 80])) > 2000:
            if at / RATE_HZ - loud_s > 0.1:
                words_s.append(at / RATE_HZ)
            loud_s = at / RATE_HZ
    return len(samples) / RATE_HZ, words_s


def show(name, folder, sends_always):
    """Print the lengths and the words; return the two lengths, and the delay of each answer in the files."""
    call(folder, sends_always)
    caller_s, questions_s = read(glob.glob(f"{folder}/*-dec.wav")[0])
    agent_s, answers_s = read(glob.glob(f"{folder}/*-enc.wav")[0])
    delays_s = [answer_s - question_s for answer_s, question_s in zip(answers_s, questions_s)]
    print(f"{name}: a call of {END_S:.0f} s with questions at {', '.join(f'{at:.0f}' for at in QUESTIONS_S)} s")
    print(f"  dec.wav lasts {caller_s:.1f} s: questions at {', '.join(f'{at:.2f}' for at in questions_s)} s")
    print(f"  enc.wav lasts {agent_s:.1f} s: answers at {', '.join(f'{at:.2f}' for at in answers_s)} s")
    print(f"  delays of the answers: {', '.join(f'{delay:.2f}' for delay in delays_s)} s", flush=True)
    return caller_s, agent_s, delays_s


always = show("caller sends always", "always", True)
paused = show("caller with silence suppression", "paused", False)
same = (
    abs(always[0] - always[1]) < 1
    and max(always[2]) < 1.5
    and paused[0] < 5 < 11 < paused[1]
    and len(paused[2]) == len(QUESTIONS_S)
    and paused[2][0] < 1.5
    and 3 < paused[2][1] - paused[2][0] < 5
    and 6 < paused[2][2] - paused[2][0] < 9
)
print("As described: the file of the caller has no pauses." if same else "CHANGED.")
raise SystemExit(0 if same else 1)
EOF
python3 show.py
