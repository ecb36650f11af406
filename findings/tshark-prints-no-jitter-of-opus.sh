#!/bin/sh
# Software: tshark 4.0.17-0+deb12u3 (Debian 12, amd64, of Wireshark): `tshark -z rtp,streams`. Its other libraries are those of Debian 12.
# Expected: of a stream of Opus in which each second packet is 10 ms late, it prints a jitter of about 10 ms, or that the jitter is
#           unknown.
# Seen:     it prints a mean and a maximum jitter of 0.000 ms, if the capture does not contain the SDP, as with WebRTC. It does so also
#           with `-d rtp.pt==111,opus`, where it names the codec "opus". The same packets behind an SDP of a SIP call have 9.850 ms,
#           and so has the same timing with PCMU. Loss and the intervals of the packets are right.
# Why:      0.000 ms is what a perfect network has, so the captures of all WebRTC calls pass a limit on jitter. A comparison of a
#           telephone leg with the WebRTC leg of the same call blames the telephone. Only the minimum, -1.000, shows that nothing was
#           computed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    version=4.0.17-0+deb12u3
    apt-get download tshark=$version libwireshark16=$version libwiretap13=$version libwsutil14=$version \
        libwireshark-data=$version libsmi2ldbl liblua5.2-0 libc-ares2 libnghttp2-14 libsnappy1v5 libpcap0.8 libglib2.0-0 \
        libxml2 libicu72 libbrotli1 libibverbs1 libnl-3-200 libnl-route-3-200 libdbus-1-3 &&
        for package in *.deb; do dpkg -x "$package" root || exit 1; done
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import glob
import os
import struct
import subprocess


def rtp(payload_type, step, size):
    """Return 1,000 packets of 20 ms, each second one 10 ms late, as (time in s, port, payload)."""
    return [
        (
            i * 0.02 + i % 2 * 0.01,
            6000,
            struct.pack(">BBHII", 0x80, payload_type, 100 + i, 1000 + i * step, 0x1234) + bytes(size),
        )
        for i in range(1000)
    ]


def invite(media):
    sdp = f"v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 6000 RTP/AVP {media}\r\n"
    head = (
        "INVITE sip:a@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1\r\n"
        "From: <sip:b@10.0.0.1>;tag=1\r\nTo: <sip:a@10.0.0.2>\r\nCall-ID: 1@x\r\nCSeq: 1 INVITE\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n"
    )
    return [(0.0, 5060, (head + sdp).encode())]


def jitter(name, packets, *options):
    """Print and return (codec, mean, maximum jitter in ms) of the stream."""
    with open(name, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for time_s, port, payload in packets:
            udp = struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload
            addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
            frame = bytes(12) + b"\x08\x00" + ip + udp
            seconds, microseconds = divmod(round(time_s * 1e6), 1_000_000)
            file.write(struct.pack("<IIII", seconds, microseconds, len(frame), len(frame)) + frame)
    command = [
        "root/usr/bin/tshark", "-r", name, "-d", "udp.port==6000,rtp", *options, "-q", "-z", "rtp,streams",
    ]
    libraries = ":".join(sorted({os.path.dirname(path) for path in glob.glob("root/**/*.so.*", recursive=True)}))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries, "HOME": os.getcwd(), "LC_ALL": "C"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    rows = [line.split() for line in ran.stdout.splitlines() if "0x00001234" in line]
    if not rows:
        raise SystemExit(ran.stderr)
    row = rows[0]
    codec, lost, least, mean, most = row[7], row[9], *row[14:17]
    print(f"{name}: codec {codec}, lost {lost}; jitter in ms: minimum {least}, mean {mean}, maximum {most}")
    return codec, float(mean), float(most)


opus = rtp(111, 960, 60)
seen = [
    jitter("opus.pcap", opus),
    jitter("opus-decode-as.pcap", opus, "-d", "rtp.pt==111,opus"),
    jitter("opus-sip.pcap", invite("111\r\na=rtpmap:111 opus/48000/2") + opus),
    jitter("pcmu.pcap", rtp(0, 160, 160)),
]
same = (
    [values[1:] for values in seen[:2]] == [(0.0, 0.0)] * 2
    and seen[1][0] == "opus"
    and all(mean > 9 for _, mean, _ in seen[2:])
)
print("As described: no jitter of Opus without SDP." if same else "CHANGED.")
raise SystemExit(0 if same else 1)
EOF
python3 show.py
