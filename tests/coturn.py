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

from tests.simulator_process import GUARD_S, POLL_S
from tools.peers.agents.ports import free_port

PROGRAM = "turnserver"
LOGIN = "a-caller:a-long-password"
NEEDS_COTURN = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="coturn is not installed")


@dataclass
class Coturn:
    """A server that listens on a host. `process` is its process, which a test may stop.

    It listens for TLS on `tls_port` if it has a certificate. `ca` is the file of its own
    certificate.
    """

    host: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    tls_port: int
    ca: Path | None

    def uri(self, transport: str = "udp") -> str:
        if transport == "tls":
            return f"turns:{self.host}:{self.tls_port}?transport=tcp"
        return f"turn:{self.host}:{self.port}?transport={transport}"


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a certificate that is signed by itself, and of its key. `name` is as
    in IP:127.0.0.1.
    """
    certificate, key = folder / "turn.pem", folder / "turn-key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=turn",
            "-addext",
            f"subjectAltName={name}",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        capture_output=True,
        check=True,
    )
    return certificate, key


@contextmanager
def running_coturn(
    folder: Path,
    *options: str,
    host: str = "127.0.0.1",
    relay_host: str = "",
    prefix: Sequence[str] = (),
    port: int = 0,
    tls_name: str = "",
    has_login: bool = True,
) -> Iterator[Coturn]:
    """Start coturn, which relays to and from loopback, too. `prefix` are the words before its
    command. If `has_login` is False, it asks for no login.

    With `tls_name`, it has a certificate with this name, as in IP:127.0.0.1.
    """
    port, log = port or free_port(host), folder / "coturn.log"
    tls_port, ca, tls = 0, None, ["--no-tls"]
    if tls_name:
        tls_port = free_port(host)
        ca, key = make_certificate(folder, tls_name)
        tls = ["--tls-listening-port", str(tls_port), "--cert", str(ca), "--pkey", str(key)]
    command = [
        *prefix,
        PROGRAM,
        "-n",
        "--no-cli",
        *tls,
        "--no-dtls",
        *(("--lt-cred-mech", "--user", LOGIN) if has_login else ("--no-auth",)),
        "--realm",
        "example.org",
        "--listening-ip",
        host,
        "--relay-ip",
        relay_host or host,
        "--listening-port",
        str(port),
        "--allow-loopback-peers",
        "--pidfile",
        str(folder / "coturn.pid"),
        "--userdb",
        str(folder / "turndb"),
        "--log-file",
        "stdout",
        "--verbose",
        *options,
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        server = Coturn(host, port, log, process, tls_port, ca)
        try:
            _await_start(server, prefix)
            yield server
        finally:
            process.kill()


def _await_start(server: Coturn, prefix: Sequence[str]) -> None:
    """Wait until the server listens, in its network."""
    connect = f"import socket; socket.create_connection(('{server.host}', {server.port}), 1)"
    until_s = time.monotonic() + GUARD_S
    while subprocess.run(
        [*prefix, sys.executable, "-c", connect], capture_output=True, check=False
    ).returncode:
        assert server.process.poll() is None, server.log.read_text()
        assert time.monotonic() < until_s
        time.sleep(POLL_S)
