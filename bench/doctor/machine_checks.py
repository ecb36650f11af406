"""The checks of this machine's capacity, of its clocks and timestamps, and of the network path to a service.

The checks of the path are, in order: the proxy, the name, the addresses, TLS and the certificate. They send no request
to the service.
"""

from __future__ import annotations

import os
import platform
import resource
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from bench.clock import monotonic_ns, now_with_realtime, utc_ns
from bench.cpu import BUSY, OTHERS, Priority, available_priority, core_count
from bench.doctor.diagnosis import CheckFinding, Refusal, explain, warning_unless
from bench.errors import ConnectError, UsageError
from bench.installation import tool_version
from bench.remedies import NO_PROXY
from bench.target.target import Target
from bench.timeouts import Timeouts
from bench.transport.connect import connect_first, kernel_timestamps, open_tcp
from bench.transport.fast.reader import COMPILED
from bench.transport.interface import ConnectTimings, Proxy, authority
from bench.transport.names import look_up
from bench.transport.tls import shake_hands, tls_context
from bench.units import NS_PER_MS, NS_PER_S

FEW_FILES, FEW_PORTS = 1_024, 4_096
OWN_FILES = 64
"""The number of files that a process opens besides its sessions: libraries, logs, Locust's own connections."""
COARSE_S = 1e-5
STEP_MS, WATCHED_S = 5.0, 0.25
SHOWN_MS = 0.01
LIMIT_S = 5.0
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TCP_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def check_machine() -> Iterator[CheckFinding]:
    """Yield every finding about this machine."""
    yield installation(compiled=COMPILED)
    yield open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield local_ports(*_port_range())
    yield timestamps()
    yield clock_resolution(time.get_clock_info("monotonic").resolution)
    yield wall_clock()
    yield processors(core_count(), os.getloadavg()[0])
    yield priority(available_priority())


def installation(*, compiled: bool) -> CheckFinding:
    """Report the installed version.

    `compiled`: True if the installation has the parts in C, which lower the CPU cost of events.
    """
    said = f"rtbench {tool_version()} on Python {platform.python_version()}"
    said += (
        ", with the compiled parts" if compiled else ", without the compiled parts, which lower the CPU cost per event"
    )
    remedy = "for many concurrent calls, install a C compiler and Python's headers, then install rtbench again"
    return warning_unless(compiled, "installation", said, remedy)


def open_files(soft: int, hard: int) -> CheckFinding:
    """Check the limit on open files; each session needs one file.

    `soft`, `hard`: the two values of RLIMIT_NOFILE; negative if there is no limit.
    """
    if soft < 0:
        return CheckFinding("open files", "pass", "no limit")
    said = f"{soft:,} allowed: enough for about {max(0, soft - OWN_FILES):,} sessions in one process"
    most = "any number" if hard < 0 else f"up to {hard:,}"
    remedy = f"for more, run `ulimit -n 65536` before the run ({most} is allowed here)"
    return warning_unless(soft >= FEW_FILES, "open files", said, remedy)


def local_ports(first: int, last: int, used: int) -> CheckFinding:
    """Check the number of local ports. Each connection to an address needs one port.

    `first`, `last`: the range of ports; both are 0 if the range is unknown.
    """
    if not last:
        return CheckFinding("local ports", "skipped", "the port range is unknown on this system")
    free = max(0, last - first + 1 - used)
    said = f"{first:,} to {last:,}, {used:,} in use: {free:,} more connections to one address are possible"
    remedy = 'widen the range: sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    return warning_unless(free >= FEW_PORTS, "local ports", said, remedy)


def timestamps() -> CheckFinding:
    """Check whether the kernel adds timestamps to received data. If not, report which timestamps are used instead."""
    try:
        stamped = kernel_timestamps(LIMIT_S)
    except (OSError, ConnectError) as error:
        return CheckFinding(
            "kernel timestamps", "warning", f"not checked: {error}", "allow loopback connections: the check needs one"
        )
    said = "available (SO_TIMESTAMPING)" if stamped else "not available: this process timestamps arrivals"
    remedy = "measure on Linux outside a sandbox; if you measure here, keep the load low, and check `receive_delay`"
    return warning_unless(stamped, "kernel timestamps", said, remedy)


def clock_resolution(resolution_s: float) -> CheckFinding:
    said = f"the monotonic clock has steps of {resolution_s * NS_PER_S:,.0f} ns"
    remedy = "latencies cannot have a finer resolution than this: measure on another machine"
    return warning_unless(resolution_s <= COARSE_S, "clock", said, remedy)


def processors(cpus: int, load: float) -> CheckFinding:
    said = f"{cpus} for this process, load {load:.1f} over the last minute"
    return warning_unless(load <= BUSY * cpus, "processors", said, OTHERS)


def priority(got: Priority) -> CheckFinding:
    """Report whether the option `--priority` of a run has an effect on this machine.

    If the option has no effect, that is no defect of the machine.
    """
    if not got.hindrance:
        return CheckFinding("priority", "pass", f"available: a run with `--priority` has niceness {got.niceness}")
    return CheckFinding("priority", "skipped", f"the option `--priority` of a run {got.hindrance}", got.remedy)


def wall_clock() -> CheckFinding:
    """Check whether the wall clock is stepped during the check."""
    monotonic_begin_ns, wall_begin_ns = now_with_realtime()
    time.sleep(WATCHED_S)
    monotonic_end_ns, wall_end_ns = now_with_realtime()
    moved_ns = (wall_end_ns - wall_begin_ns) - (monotonic_end_ns - monotonic_begin_ns)
    return judged_wall_clock(moved_ns / NS_PER_MS)


def judged_wall_clock(moved_ms: float) -> CheckFinding:
    moved = f"{moved_ms:+.2f} ms" if abs(moved_ms) >= SHOWN_MS else f"by less than {SHOWN_MS:g} ms"
    said = f"moved {moved} against the monotonic clock in {WATCHED_S:g} s"
    remedy = "the clock is being adjusted: try again when it is synchronised"
    return warning_unless(abs(moved_ms) <= STEP_MS, "wall clock", said, remedy)


def _port_range() -> tuple[int, int, int]:
    """Return the first local port, the last one, and the number of ports in use.

    The second column of the kernel's tables is ADDRESS:PORT in hexadecimal.
    """
    try:
        first, last = map(int, PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return 0, 0, 0
    held: set[int] = set()
    for table in TCP_TABLES:
        with suppress(OSError):
            held.update(int(row.split()[1].rpartition(":")[2], 16) for row in table.read_text().splitlines()[1:])
    return first, last, sum(first <= port <= last for port in held)


DAY_S = 86_400
FEW_DAYS = 14
NAMES_SHOWN = 3


def check_network(target: Target, limits: Timeouts) -> Iterator[CheckFinding]:
    """Yield the findings about the network path, from the proxy to TLS. Steps after a failed step are skipped."""
    path = target.network_path
    if path.proxy is not None:
        yield (proxied := _proxied(target, path.proxy, limits))
        yield from _clock_lag(target, limits, reached=proxied.result == "pass")
        return
    host, port = path.address or target.host, target.port
    found, addresses = _named(host, port, limits, target)
    yield found
    tried = [_try_route(address, limits, target) for address in addresses]
    reached = any(finding.result == "pass" for finding in tried)
    # If another address answers, a failed address is no failure. But every connection tries the failed address first.
    slow = (
        "another address answers; if this one is tried first, each connection waits for it: set the other one with "
        "--resolve ADDRESS"
    )
    yield from (
        replace(finding, result="warning", remedy=slow) if finding.result == "fail" and reached else finding
        for finding in tried
    )
    yield from _clock_lag(target, limits, reached=reached)


def _named(host: str, port: int, limits: Timeouts, target: Target) -> tuple[CheckFinding, list[Any]]:
    """Return a finding about the duration of the name lookup, and the addresses of the name."""
    try:
        addresses, began_ns, done_ns = look_up(host, port, limits.tcp)
    except ConnectError as error:
        return _failed("dns", error.detail, error, target), []
    took = _ms(done_ns - began_ns)
    places = [str(address[4][0]) for address in addresses]
    if places == [host]:
        known = "is set by --resolve" if target.network_path.address else "is an address"
        return CheckFinding("dns", "skipped", f"{host} {known}: no lookup"), addresses
    plural = "address" if len(places) == 1 else "addresses"
    return CheckFinding("dns", "pass", f"{host}: {len(places)} {plural} in {took}: {', '.join(places)}"), addresses


def _try_route(address: Any, limits: Timeouts, target: Target) -> CheckFinding:
    began_ns = monotonic_ns()
    try:
        connect_first([address], limits.tcp).close()
    except ConnectError as error:
        return _failed("tcp", error.detail, error, target)
    return CheckFinding("tcp", "pass", f"{authority(*address[4][:2])} in {_ms(monotonic_ns() - began_ns)}")


def _proxied(target: Target, proxy: Proxy, limits: Timeouts) -> CheckFinding:
    """Check the proxy, and then the tunnel through it. If the proxy is unreachable, the tunnel is not checked."""
    try:
        connect_first(look_up(proxy.host, proxy.port, limits.tcp).addresses, limits.tcp, "proxy").close()
    except ConnectError as error:
        return CheckFinding("proxy", "fail", f"{proxy.public}: {error.detail}", NO_PROXY)
    began_ns = monotonic_ns()
    try:
        open_tcp(target.host, target.port, limits, ConnectTimings(), target.network_path).close()
    except ConnectError as error:
        return _failed("proxy", f"{proxy.public}: {error.detail}", error, target)
    by = "the proxy" if proxy.remote_dns else "this machine"
    place = authority(target.network_path.address or target.host, target.port)
    took = _ms(monotonic_ns() - began_ns)
    said = f"{proxy.public}: opened a tunnel to {place} in {took}; {by} resolves names"
    return CheckFinding("proxy", "pass", said)


def _failed(name: str, said: str, error: ConnectError, target: Target) -> CheckFinding:
    return CheckFinding(name, "fail", said, explain(Refusal(error.outcome, error.detail), target))


def _clock_lag(target: Target, limits: Timeouts, *, reached: bool) -> Iterator[CheckFinding]:
    if not reached:
        yield CheckFinding("tls", "skipped", "the service was not reached")
    elif not target.tls:
        yield CheckFinding("tls", "skipped", f"the connection to {target.host} does not use TLS")
    else:
        yield from secured(target, limits)


def secured(target: Target, limits: Timeouts) -> Iterator[CheckFinding]:
    """Yield the TLS version, the cipher and the certificate. A certificate that is not trusted is described, too."""
    path = target.network_path
    try:
        context = tls_context(path.ca, path.client_cert, path.client_key)
        agreed, certificate = _agreed(target, limits, context)
    except UsageError as error:
        yield CheckFinding("tls", "fail", str(error))
        return
    except ConnectError as error:
        yield _insecure(target, limits, error)
        return
    yield CheckFinding("tls", "pass", agreed)
    if certificate is not None:
        remedy = "the server's operator must renew it before it expires"
        yield warning_unless(_days_left(certificate) >= FEW_DAYS, "certificate", _described(certificate), remedy)


def _days_left(certificate: x509.Certificate) -> float:
    """Return the days until a certificate expires; negative if it has expired."""
    return (certificate.not_valid_after_utc.timestamp() - utc_ns() / NS_PER_S) / DAY_S


def _described(certificate: x509.Certificate) -> str:
    names: list[str] = []
    with suppress(x509.ExtensionNotFound):
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(name.value) for name in found]
    more = len(names) - NAMES_SHOWN
    listed = ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    days = _days_left(certificate)
    left = f"{days:,.0f} days left" if days >= 0 else f"expired {-days:,.1f} days ago"
    who, issuer = _common_name(certificate.subject), _common_name(certificate.issuer)
    return f"{who}, issued by {issuer}, {left}; for {listed or 'no name'}"


def _insecure(target: Target, limits: Timeouts, error: ConnectError) -> CheckFinding:
    """Report a failed connection, with the remedy of the error if it has one.

    If the certificate is not trusted, describe it.
    """
    problem, _, remedy = error.detail.partition("; ")
    shown = ""
    if error.outcome == "connect_failed:tls":
        # This context sends only the handshake, so it is safe to accept a certificate that is not trusted.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with suppress(ConnectError):
            if certificate := _agreed(target, limits, context)[1]:
                shown = f" (its certificate: {_described(certificate)})"
    return CheckFinding(
        "tls", "fail", f"{problem}{shown}", remedy or explain(Refusal(error.outcome, error.detail), target)
    )


def _agreed(target: Target, limits: Timeouts, context: ssl.SSLContext) -> tuple[str, x509.Certificate | None]:
    """Connect with TLS. Return a text with version, cipher and duration, and the certificate. Raise ConnectError."""
    tcp = open_tcp(target.host, target.port, limits, ConnectTimings(), target.network_path)
    try:
        began_ns = monotonic_ns()
        session = shake_hands(tcp, context, target.host, limits.tls).session
        took = _ms(monotonic_ns() - began_ns)
        shown = session.getpeercert(binary_form=True)
    finally:
        tcp.close()
    cipher = (session.cipher() or ("no cipher",))[0]
    return f"{session.version()} with {cipher} in {took}", None if shown is None else x509.load_der_x509_certificate(
        shown
    )


def _common_name(name: x509.Name) -> str:
    for part in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := name.get_attributes_for_oid(part):
            return str(found[0].value)
    return name.rfc4514_string() or "no name"


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:.1f} ms"
