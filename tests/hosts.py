"""Hosts for tests: network namespaces on a bridge. Each host has its own host name, network and
file system.

The creation of hosts requires root and the command `ip`. `available` checks both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import forked

NET = "10.213.77"
"""The network prefix of the hosts. The hub has two addresses: .1 is for the master, and .100 is
for the simulator."""
HOLD = 'hostname "$1"; mount -t tmpfs none "$2"; echo; exec sleep infinity'
"""The command of a process that keeps the namespaces of a host alive. Other processes enter
these namespaces."""

LISTEN = """
import socket, sys
every = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
every.bind(("bridge0", 0))
print("listening", flush=True)
with open(sys.argv[1], "wb", buffering=0) as heard:
    while True:
        heard.write(every.recv(1 << 18))
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def available() -> bool:
    """Return whether this process can create hosts."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return False
    name = f"rtb{os.getpid()}try"
    made = (
        subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode
        == 0
    )
    if made:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


class Hosts:
    """A hub, and hosts on its bridge. `hidden` is a folder that only the hub can see."""

    def __init__(self, names: Sequence[str], hidden: Path) -> None:
        self._prefix, self._names, self._hidden = f"rtb{os.getpid()}", names, hidden
        self.hub_address, self.service_address = f"{NET}.1", f"{NET}.100"
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def space(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def open(self) -> None:
        hub = self.space("hub")
        run("ip", "netns", "add", hub)
        inside = ("ip", "-n", hub)
        run(*inside, "link", "add", "bridge0", "type", "bridge")
        for address in (self.hub_address, self.service_address):
            run(*inside, "addr", "add", f"{address}/24", "dev", "bridge0")
        for device in ("lo", "bridge0"):
            run(*inside, "link", "set", device, "up")
        for number, name in enumerate(self._names, 2):
            space = self.space(name)
            run("ip", "netns", "add", space)
            run(
                *inside, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space
            )
            run(*inside, "link", "set", name, "master", "bridge0", "up")
            run("ip", "-n", space, "addr", "add", f"{NET}.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("ip", "-n", space, "link", "set", device, "up")
            apart = ["unshare", "--mount", "--uts", "sh", "-c", HOLD, "sh", name, str(self._hidden)]
            holder = subprocess.Popen(
                ["ip", "netns", "exec", space, *apart], stdout=subprocess.PIPE
            )
            self._holders[name] = holder
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"\n"

    def close(self) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.communicate()
        for name in ("hub", *self._names):
            subprocess.run(
                ["ip", "netns", "del", self.space(name)], capture_output=True, check=False
            )

    @property
    def of_hub(self) -> list[str]:
        """The files of the namespaces that a process on the hub enters."""
        return [f"/run/netns/{self.space('hub')}"]

    def of(self, name: str) -> list[str]:
        """Return the files of the namespaces that a process on this host enters."""
        return [f"/proc/{self._holders[name].pid}/ns/{kind}" for kind in ("net", "uts", "mnt")]

    @contextmanager
    def listening(self, heard: Path) -> Iterator[None]:
        """Until the end of the block, write every packet that passes through the hub to the file
        `heard`.
        """
        command = [
            "ip",
            "netns",
            "exec",
            self.space("hub"),
            sys.executable,
            "-c",
            LISTEN,
            str(heard),
        ]
        listener = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"listening\n"
            yield
        finally:
            listener.kill()
            listener.communicate()

    def cut(self, name: str) -> None:
        """Disconnect a host from the network."""
        run("ip", "-n", self.space("hub"), "link", "set", name, "down")

    def join(self, name: str) -> None:
        """Connect a host to the network again."""
        run("ip", "-n", self.space("hub"), "link", "set", name, "up")


@contextmanager
def hosts(names: Sequence[str], hidden: Path) -> Iterator[Hosts]:
    """Create a hub and hosts with these names. Remove them at the end of the block."""
    made = Hosts(names, hidden)
    try:
        made.open()
        yield made
    finally:
        made.close()


def started(
    namespaces: Sequence[str], command: Sequence[str], folder: Path, output: Path
) -> subprocess.Popen[bytes]:
    """Start a command in these namespaces and in `folder`, with its own process group.

    Its output goes to the file `output`.
    """
    with output.open("wb") as file:
        return forked.Popen(
            command,
            namespaces=namespaces,
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"NO_COLOR": "1"},
        )
