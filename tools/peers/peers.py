"""The agents of others: how each is installed and started, and how its calls are made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tools.environments import in_node, in_python

AGENTS = Path(__file__).parent / "agents"
FOLDER = Path(__file__).parents[2] / "build" / "peers"
DEBIAN_PYTHON = "/usr/bin/python3"


class NotInstalledError(Exception):
    """A program that is not installed, or cannot be installed. Its text states what to do."""


class Peer(NamedTuple):
    """An agent. `command` starts it in a folder; then it prints its port.

    `prepare` installs it in this folder, and returns what precedes the command. `version` returns
    its version, from the folder. `options` are those of `rtbench run`, and `extra` is a line of the
    script's session.
    """

    name: str
    prepare: Callable[[Path], Sequence[str]]
    version: Callable[[Path], str]
    command: tuple[str, ...]
    how: str
    url: str = "http://127.0.0.1:{port}/api/offer"
    options: tuple[str, ...] = ("--dialect", "webrtc")
    extra: str = ""
    callers: int = 4
    """The number of calls at a time."""
    is_echo: bool = False
    """True if the agent repeats what it hears. It has no replies: only its calls are counted."""

    @property
    def home(self) -> Path:
        return FOLDER / self.name.replace(" ", "_").lower()


def of_debian(home: Path, *, packages: str, needs: str) -> list[str]:
    """Return the Python of Debian. Raise NotInstalledError if a package is missing."""
    home.mkdir(parents=True, exist_ok=True)
    if shutil.which(needs) is None or not Path(DEBIAN_PYTHON).exists():
        raise NotInstalledError(f"apt-get install {packages}")
    return [DEBIAN_PYTHON]


def node(home: Path, *, packages: tuple[str, ...]) -> Sequence[str]:
    return _installed(in_node, home, packages)


def python(home: Path, *, packages: tuple[str, ...]) -> Sequence[str]:
    return _installed(in_python, home, packages)


def _installed(
    install: Callable[[Path, Sequence[str]], list[str]], home: Path, packages: tuple[str, ...]
) -> Sequence[str]:
    marker, wanted = home / "packages.txt", "\n".join(packages)
    try:
        if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
            return ["node"] if install is in_node else [str(home / "bin" / "python")]
        run = install(home, packages)
    except FileNotFoundError as error:
        raise NotInstalledError(f"{error.filename} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise NotInstalledError(
            f"its packages cannot be installed: {str(error.stderr).strip()[-200:]}"
        ) from None
    marker.write_text(wanted, encoding="utf-8")
    return run


def _of_dpkg(home: Path, *, package: str) -> str:
    return _output("dpkg-query", "-W", "-f=${Version}", package)


def _of_kamailio(home: Path) -> str:
    return f"{_of_dpkg(home, package='kamailio')} ({_of_dpkg(home, package='rtpengine-daemon')})"


def _of_npm(home: Path, *, package: str) -> str:
    return _output("node", "-p", f"require('{home}/node_modules/{package}/package.json').version")


def _of_pip(home: Path, *, package: str) -> str:
    return _output(
        str(home / "bin" / "python"),
        "-c",
        f"import importlib.metadata as m; print(m.version({package!r}))",
    )


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


G711 = ("--dialect", "webrtc", "--codec", "PCMU")
SIP = "sip:agent@127.0.0.1:{port}"
TELEPHONE = ("--dialect", "sip", "--codec", "PCMU")
WIDE = {
    name: ("--dialect", "sip", "--codec", f"{name.replace('.', '').lower()},PCMU")
    for name in ("G.722", "Opus")
}
"""The options of wideband calls, by the codec."""
KAMAILIO = partial(of_debian, packages="kamailio rtpengine-daemon python3-numpy", needs="rtpengine")
JANUS = partial(of_debian, packages="janus python3-numpy", needs="janus")
WEBRTCBIN = (
    "gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-nice gstreamer1.0-tools"
)
PEERS = (
    Peer(
        "werift",
        partial(node, packages=("werift@0.25.2",)),
        partial(_of_npm, package="werift"),
        ("werift.cjs",),
        "its example of an answer; sockets and candidates of each interface, PCMU",
        options=G711,
    ),
    Peer(
        "node-datachannel",
        partial(node, packages=("node-datachannel",)),
        partial(_of_npm, package="node-datachannel"),
        ("node_datachannel.cjs",),
        "one socket for all addresses, PCMU",
        options=G711,
    ),
    Peer(
        "webrtcbin",
        partial(
            of_debian,
            needs="gst-inspect-1.0",
            packages=f"{WEBRTCBIN} python3-numpy python3-gi gir1.2-gst-plugins-bad-1.0",
        ),
        partial(_of_dpkg, package="gstreamer1.0-plugins-bad"),
        ("webrtcbin_agent.py",),
        "a live pipeline of webrtcbin with libnice, PCMU",
        options=G711,
    ),
    Peer(
        "Janus AudioBridge",
        JANUS,
        partial(_of_dpkg, package="janus"),
        ("janus_agent.py", "bridge"),
        "a room for each call, the agent in it as a plain participant over RTP; Opus",
    ),
    Peer(
        "Janus EchoTest",
        JANUS,
        partial(_of_dpkg, package="janus"),
        ("janus_agent.py", "echo"),
        "its default settings; Opus",
        is_echo=True,
    ),
    Peer(
        "FastRTC",
        partial(python, packages=("fastrtc==0.0.34", "uvicorn")),
        partial(_of_pip, package="fastrtc"),
        ("fastrtc_agent.py",),
        "`Stream(…).mount(app)`; `extra: {webrtc_id: '{uuid}'}`; Opus",
        url="http://127.0.0.1:{port}/webrtc/offer",
        extra="  extra: {webrtc_id: '{uuid}'}\n",
        callers=1,
    ),
    Peer(
        "aiortc",
        partial(python, packages=("aiortc", "aiohttp", "numpy")),
        partial(_of_pip, package="aiortc"),
        ("aiortc_agent.py",),
        "its example `server`; Opus",
    ),
    Peer(
        "pipecat",
        partial(python, packages=("pipecat-ai[webrtc]", "uvicorn", "fastapi")),
        partial(_of_pip, package="pipecat-ai"),
        ("../../../tests/clients/webrtc/pipecat_agent.py",),
        "`SmallWebRTCTransport` and its request handler; Opus",
    ),
    Peer(
        "libwebrtc",
        partial(node, packages=("@roamhq/wrtc@0.10.0",)),
        partial(_of_npm, package="@roamhq/wrtc"),
        ("libwebrtc.cjs",),
        "the npm package `@roamhq/wrtc`, its `RTCAudioSource`; Opus",
    ),
    Peer(
        "Chromium",
        partial(of_debian, needs="chromium", packages="chromium"),
        partial(_of_dpkg, package="chromium"),
        ("chromium_agent.py",),
        "a page that answers offers; its candidates have names of mDNS; Opus",
    ),
    Peer(
        "SIPp",
        partial(of_debian, needs="sipp", packages="sip-tester python3-numpy"),
        partial(_of_dpkg, package="sip-tester"),
        ("sipp_agent.py",),
        "its scenario `uas`, with `rtp_stream` at fixed times; PCMU",
        url=SIP,
        options=TELEPHONE,
    ),
    Peer(
        "ffmpeg",
        partial(of_debian, needs="ffmpeg", packages="ffmpeg python3-numpy"),
        partial(_of_dpkg, package="ffmpeg"),
        ("sip_bot.py", "ffmpeg"),
        "a bot that starts `ffmpeg -re … -f rtp` for each reply, with packets of 20 ms; PCMU",
        url=SIP,
        options=TELEPHONE,
    ),
    Peer(
        "GStreamer",
        partial(of_debian, needs="gst-launch-1.0", packages=f"{WEBRTCBIN} python3-numpy"),
        partial(_of_dpkg, package="gstreamer1.0-plugins-good"),
        ("sip_bot.py", "gstreamer"),
        "a bot that starts `gst-launch-1.0 … rtppcmupay ! udpsink` for each reply; PCMU",
        url=SIP,
        options=TELEPHONE,
    ),
    Peer(
        "aiosipua",
        partial(python, packages=("aiosipua[rtp]", "numpy")),
        partial(_of_pip, package="aiosipua"),
        ("aiosipua_agent.py",),
        "its example of a UAS, with `CallSession`; PCMU",
        url=SIP,
        options=TELEPHONE,
    ),
    Peer(
        "PJSIP",
        partial(python, packages=("pjsua2-python==2.15.1.post1", "numpy")),
        partial(_of_pip, package="pjsua2-python"),
        ("pjsip_agent.py", "PCMU"),
        "PJSUA2, an account without registration, `AudioMediaPlayer` for each reply; PCMU",
        url=SIP,
        options=TELEPHONE,
    ),
    Peer(
        "agent-transport",
        partial(python, packages=("agent-transport==0.2.2", "numpy")),
        partial(_of_pip, package="agent-transport"),
        ("agent_transport_agent.py",),
        "its example `phone`, registered with Kamailio over TCP; PCMU",
        url="sip:agent@127.0.0.9:{port}",
        options=TELEPHONE,
    ),
    Peer(
        "baresip",
        partial(of_debian, needs="baresip", packages="baresip-core python3-numpy"),
        partial(_of_dpkg, package="baresip-core"),
        ("baresip_agent.py", "g711"),
        "`answermode=auto`; its `ctrl_tcp` switches to `aufile` for each reply; PCMU",
        url=SIP,
        options=TELEPHONE,
        callers=1,
    ),
    Peer(
        "PJSIP with G.722",
        partial(python, packages=("pjsua2-python==2.15.1.post1", "numpy")),
        partial(_of_pip, package="pjsua2-python"),
        ("pjsip_agent.py", "G722"),
        "as above, with the priority of its codecs; G.722 (its wheel has no Opus)",
        url=SIP,
        options=WIDE["G.722"],
    ),
    *(
        Peer(
            f"baresip with {name}",
            partial(of_debian, needs="baresip", packages="baresip-core python3-numpy"),
            partial(_of_dpkg, package="baresip-core"),
            ("baresip_agent.py", name.replace(".", "").lower()),
            f"as above, with its module of the codec; {name}",
            url=SIP,
            options=options,
            callers=1,
        )
        for name, options in WIDE.items()
    ),
    Peer(
        "Kamailio with rtpengine",
        KAMAILIO,
        _of_kamailio,
        ("kamailio_agent.py", "plain"),
        "`rtpengine_offer` and `rtpengine_answer`, before a bot; PCMU",
        url=SIP,
        options=TELEPHONE,
    ),
    Peer(
        "Kamailio with rtpengine that transcodes",
        KAMAILIO,
        _of_kamailio,
        ("kamailio_agent.py", "transcoding", "PCMU", "PCMA"),
        "`rtpengine_offer` with `codec-mask-PCMU codec-transcode-PCMA`, before a bot; PCMU",
        url=SIP,
        options=TELEPHONE,
    ),
    *(
        Peer(
            f"Kamailio with rtpengine that transcodes {name}",
            KAMAILIO,
            _of_kamailio,
            ("kamailio_agent.py", "transcoding", codec, "PCMU"),
            f"as above, with `codec-mask-{codec} codec-transcode-PCMU`; {name}",
            url=SIP,
            options=("--dialect", "sip", "--codec", codec.lower()),
        )
        for name, codec in (("G.722", "G722"), ("Opus", "opus"))
    ),
)


@contextmanager
def started(peer: Peer) -> Iterator[int]:
    """Start an agent, and yield its port. Raise NotInstalledError if it is not installed, or
    does not start.
    """
    run = peer.prepare(peer.home)
    first, *others = peer.command
    command = [*run, str(AGENTS / first), *others]
    with (peer.home / "errors.txt").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, cwd=peer.home, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if not line.isdigit():
                raise NotInstalledError(f"it does not start: see {peer.home / 'errors.txt'}")
            yield int(line)
        finally:
            process.terminate()
