"""Kamailio with rtpengine in front of a bot, after the example of Kamailio's module rtpengine. It
prints its port.

With `transcoding`, rtpengine passes one codec to the caller and another one to the bot: the
arguments.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import kamailio
from ports import free_port
from sip_calls import HOST

OFFER = {
    "plain": "replace-origin replace-session-connection",
    "transcoding": "replace-origin replace-session-connection codec-mask-{} codec-transcode-{}",
}
BEGIN = """if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    record_route();
    if (is_method("INVITE")) {{
        rtpengine_offer("{offer}");
        t_on_reply("answer");
    }}
    $du = "sip:{host}:{bot}";"""
WITHIN = 'if (is_method("BYE")) rtpengine_delete();'
ROUTES = """onreply_route[answer] {
    if (has_body("application/sdp")) rtpengine_answer("replace-origin replace-session-connection");
}"""
OPTIONS = (
    "OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{own};branch=z9hG4bK{own}\r\nFrom:"
    " <sip:x@{host}>;tag=1\r\nTo: <sip:x@{host}>\r\nCall-ID: {own}\r\nCSeq: 1"
    " OPTIONS\r\nMax-Forwards: 0\r\nContent-Length: 0\r\n\r\n"
)


def main():
    here = str(Path(__file__).parent)
    bot = subprocess.Popen(
        [sys.executable, f"{here}/sip_bot.py", "plain"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.getcwd(),
    )
    bot_port, control, port = bot.stdout.readline().strip(), free_port(), free_port()
    media = [
        "--interface",
        HOST,
        "--listen-ng",
        f"{HOST}:{control}",
        "--port-min",
        "40000",
        "--port-max",
        "42000",
    ]
    engine = subprocess.Popen(
        [
            "rtpengine",
            "--config-file",
            "none",
            "--foreground",
            "--log-stderr",
            "--table",
            "-1",
            *media,
        ],
        stdout=subprocess.DEVNULL,
    )
    await_answer(control, "{own} d7:command4:pinge")  # Kamailio asks it only once
    proxy = kamailio.started(
        [f"udp:{HOST}:{port}"],
        ["maxfwd", "rtpengine"],
        f'modparam("rtpengine", "rtpengine_sock", "udp:{HOST}:{control}")',
        BEGIN.format(host=HOST, bot=bot_port, offer=OFFER[sys.argv[1]].format(*sys.argv[2:])),
        WITHIN,
        ROUTES,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        await_answer(port, OPTIONS)
        print(port, flush=True)
        signal.pause()
    finally:
        for process in (proxy, engine, bot):
            process.terminate()
            process.wait()


def await_answer(port, request):
    """Wait until a server over UDP answers a request."""
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.5)
        asking.connect((HOST, port))
        own = asking.getsockname()[1]
        while True:
            try:
                asking.send(request.format(host=HOST, own=own).encode())
                return asking.recv(2_000)
            except OSError:
                time.sleep(0.1)


main()
