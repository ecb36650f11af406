#!/bin/sh
# Software: pyVoIP 1.6.8 (PyPI, Python 3.11 or 3.12), RTPClient.read(160, blocking=False) each 20 ms, which is what VoIPCall.read_audio calls.
# Expected: a caller with silence suppression sends nothing in a pause, and the timestamps run on (RFC 3551 section 4.1). The application
#           reads silence in the pause, and after it each word as soon as it comes, as late as in a call without pauses.
# Seen:     the application reads the pause a second time, and the words behind it. After a pause of 1 s, the caller is heard 1 s late,
#           after one of 3 s, 3 s late, until the end of the call. A stall of the line of 0.5 s, after which all its packets arrive,
#           stays as a delay of 0.5 s. The delay never shrinks. The pause that is read again is not silent: it consists of the byte
#           0x00, which is full scale in the format of pyVoIP (8 bits unsigned, silence is 0x80). In a call without pauses the delay
#           is about 0.1 s at most.
# Why:      the agent answers later after the longest pause, or the worst stall, of a call. A test with short calls, or with a caller
#           who sends always, does not show it. One with real telephones finds a latency that grows with the age of the call, and
#           blames the service. A detector of speech finds loud sound where the caller was silent.
# Takes about a minute.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install pyVoIP==1.6.8
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import socket
import struct
import threading
import time

from pyVoIP.RTP import PayloadType, RTPClient, TransmitType

PACKET = 160  # samples, 20 ms
SILENCE = 0x80  # of pyVoIP
WORD = 0.3  # s at the start of each second of speech


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def seconds(kind):
    """Return for each second of the call whether the caller sends, and by how much its packets are late."""
    if kind == "without pauses":
        return [(True, 0.0)] * 8
    if kind == "pauses of 1 s and of 3 s":
        return [(True, 0.0), (False, 0.0), (True, 0.0)] + [(False, 0.0)] * 3 + [(True, 0.0)] * 3
    # The packets of the first 0.5 s of the second 2 arrive together.
    return [(True, 0.0)] * 2 + [(True, 0.5)] + [(True, 0.0)] * 5


def packets(kind):
    """Yield (time to send in s, packet): PCMU, a loud word at the start of each second, then quiet sound."""
    sequence = 100
    started = False
    for second, (sends, stall_s) in enumerate(seconds(kind)):
        if not sends:
            started = False
            continue
        for i in range(50):
            time_s = second + i * 0.02
            # 0x90 is loud in mu-law, 0xF0 is quiet.
            payload = bytes([0x90 if i * 0.02 < WORD else 0xF0]) * PACKET
            marker = 0x00 if started else 0x80
            timestamp = 5000 + (second * 50 + i) * PACKET
            yield (
                max(time_s, second + stall_s),
                struct.pack(">BBHII", 0x80, marker, sequence, timestamp, 0x1234) + payload,
            )
            sequence += 1
            started = True


def call(kind):
    """Return the delay in s of the word of each second, and the share of full scale in what was read."""
    port, own = free_port(), free_port()
    client = RTPClient({0: PayloadType.PCMU}, "127.0.0.1", port, "127.0.0.1", own, TransmitType.SENDRECV)
    client.start()
    start_s = time.monotonic() + 0.2

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.bind(("127.0.0.1", own))
            for due_s, packet in packets(kind):
                time.sleep(max(0.0, start_s + due_s - time.monotonic()))
                line.sendto(packet, ("127.0.0.1", port))

    sender = threading.Thread(target=send)
    sender.start()
    heard_s, full = [], 0
    loud_s = 0.0  # the last time at which loud sound was read
    due_s = start_s
    while time.monotonic() < start_s + 13:
        time.sleep(max(0.0, due_s - time.monotonic()))
        audio = client.read(PACKET, blocking=False)
        levels = [abs(sample - SILENCE) for sample in audio]
        full += audio == bytes(PACKET)
        if audio != bytes(PACKET) and max(levels) > 20:
            now_s = time.monotonic()
            if now_s - loud_s > WORD:
                heard_s.append(now_s - start_s)
            loud_s = now_s
        due_s += 0.02
    sender.join()
    client.stop()
    said_s = [second for second, (sends, _) in enumerate(seconds(kind)) if sends]
    delays_s = [heard - said for heard, said in zip(heard_s, said_s, strict=True)]
    print(f"{kind}: words said at {said_s} s")
    print(f"  delay of each: {' '.join(f'{delay_s:.2f}' for delay_s in delays_s)} s; full scale was read for {full * 0.02:.2f} s")
    return delays_s, full * 0.02


def main():
    steady, _ = call("without pauses")
    paused, full_s = call("pauses of 1 s and of 3 s")
    stalled, _ = call("a stall of 0.5 s at second 2")
    same = (
        max(steady) < 0.3
        and 0.7 < paused[1] < 1.6
        and all(2.7 < delay_s < 3.6 for delay_s in paused[2:])
        and full_s > 3
        and 0.3 < stalled[-1] < 0.8
    )
    print("As described: the delay is that of the longest pause." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(main())
EOF
venv/bin/python -W ignore show.py
