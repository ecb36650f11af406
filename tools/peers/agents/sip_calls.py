"""The signalling of telephone calls for agents that have none of their own: each call is answered
(RFC 3261).

`serve` answers calls with an agent that knows its socket for RTP, the address of the caller, and
the payload type.
"""

import re
import socket
import wave

from python_talk import tone

HOST, RATE_HZ = "127.0.0.1", 8_000
ANSWERED = re.compile("(?:Via|From|To|Call-ID|CSeq|Record-Route) *:", re.IGNORECASE)


def write_tone(path, loudness=1, silence_s=0, rate_hz=RATE_HZ, channels=1):
    samples = (tone(rate_hz) * loudness).astype("<i2").repeat(channels)
    with wave.open(path, "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.tobytes() + bytes(2 * channels * rate_hz * silence_s))


def serve(agent_of):
    """Print the port of SIP, and answer calls. `agent_of` returns the agent of a call, which has
    `close`.
    """
    sip, calls = socket.socket(type=socket.SOCK_DGRAM), {}
    sip.bind((HOST, 0))
    port = sip.getsockname()[1]
    print(port, flush=True)
    while True:
        data, source = sip.recvfrom(65_535)
        head, _, body = data.decode().partition("\r\n\r\n")
        method, call_id = head.split(" ", 1)[0], re.search(r"(?i)\r\n(?:Call-ID|i) *: *(\S+)", head)
        if method in ("ACK", "SIP/2.0") or call_id is None:
            continue
        sdp = ""
        if method == "INVITE":
            if call_id[1] not in calls:
                calls[call_id[1]] = accepted(agent_of, body)
            sdp = calls[call_id[1]][0]
        elif method == "BYE" and call_id[1] in calls:
            calls[call_id[1]][1].close()
        lines = [line for line in head.split("\r\n") if ANSWERED.match(line)]
        lines = [
            line + ";tag=1" if line[:3] == "To:" and "tag=" not in line else line for line in lines
        ]
        lines += [f"Contact: <sip:agent@{HOST}:{port}>", f"Content-Length: {len(sdp)}"]
        lines += ["Content-Type: application/sdp"] if sdp else []
        sip.sendto("\r\n".join(["SIP/2.0 200 OK", *lines, "", sdp]).encode(), source)


def accepted(agent_of, offer):
    """Return the session description of an answer, and the agent."""
    host, port = re.search(r"c=IN IP4 (\S+)", offer)[1], int(re.search(r"m=audio (\d+)", offer)[1])
    payload_type = int(re.search(r"m=audio \d+ \S+ (\d+)", offer)[1])
    rtp = socket.socket(type=socket.SOCK_DGRAM)
    rtp.bind((HOST, 0))
    sdp = (
        f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n"
        f"m=audio {rtp.getsockname()[1]} RTP/AVP {payload_type}\r\na=ptime:20\r\n"
    )
    return sdp, agent_of(rtp, (host, port), payload_type)
