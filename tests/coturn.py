"""The TURN server coturn for tests (Debian's package `coturn`), in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.transport.datagrams import udp_socket
from tests.simulator_process import GUARD_S, POLL_S

PROGRAM = "turnserver"
LOGIN = "a-caller:a-long-password"
NEEDS_COTURN = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="coturn is not installed")


@dataclass
class Coturn:
    """A server that listens on a host. `process` is its process, which a test may stop."""

    host: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def uri(self, transport: str = "udp") -> str:
        return f"turn:{self.host}:{self.port}?transport={transport}"


def _free_port(host: str) -> int:
    with udp_socket(host) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running_coturn(
    folder: Path,
    *options: str,
    host: str = "127.0.0.1",
    relay_host: str = "",
    prefix: Sequence[str] = (),
    port: int = 0,
) -> Iterator[Coturn]:
    """Start coturn, which relays to and from loopback, too. `prefix` are the words before its command."""
    port, log = port or _free_port(host), folder / "coturn.log"
    command = [
        *prefix, PROGRAM, "-n", "--no-cli", "--no-tls", "--no-dtls", "--lt-cred-mech", "--realm", "example.org",
        "--user", LOGIN, "--listening-ip", host, "--relay-ip", relay_host or host, "--listening-port", str(port),
        "--allow-loopback-peers", "--pidfile", str(folder / "coturn.pid"), "--userdb", str(folder / "turndb"),
        "--log-file", "stdout", "--verbose", *options,
    ]  # fmt: skip
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        server = Coturn(host, port, log, process)
        try:
            _await_start(server, prefix)
            yield server
        finally:
            process.kill()


def _await_start(server: Coturn, prefix: Sequence[str]) -> None:
    """Wait until the server listens, in its network."""
    connect = f"import socket; socket.create_connection(('{server.host}', {server.port}), 1)"
    until_s = time.monotonic() + GUARD_S
    while subprocess.run([*prefix, sys.executable, "-c", connect], capture_output=True, check=False).returncode:
        assert server.process.poll() is None, server.log.read_text()
        assert time.monotonic() < until_s
        time.sleep(POLL_S)
