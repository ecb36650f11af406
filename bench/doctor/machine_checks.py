"""The checks of this machine's capacity, of its clocks and timestamps, and of the network path to a
service.

The network path is checked step by step: proxy, name lookup, addresses, TLS, certificate. These
checks send no request to the service.
"""

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

from bench.base.clock import monotonic_ns, now_with_realtime, utc_ns
from bench.base.cpu import BUSY, OTHERS, Priority, available_priority, core_count
from bench.base.errors import UsageError
from bench.base.installation import tool_version
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import Code, ConnectError, numbers_of
from bench.catalogue.outcomes import NO_PROXY
from bench.catalogue.timeouts import Timeouts
from bench.doctor.diagnosis import Refusal, explain
from bench.target.target import Target
from bench.transport.connect import connect_first, kernel_timestamps, look_up, open_tcp
from bench.transport.fast.reader import COMPILED
from bench.transport.interface import ConnectTimings, Proxy
from bench.transport.ring.choice import ReaderChoice
from bench.transport.tls import shake_hands, tls_context
from bench.wire.addresses import authority
from bench.wire.findings import CheckFinding, warning_unless

# What is checked here can make a run wrong or impossible without any fault of the service: limits
# of files and ports, timestamps of user space, a clock that is moved, other load. Most checks are
# functions of the values that they judge, so that tests need no such machine.
FEW_FILES = 1_024
FEW_PORTS = 4_096
OWN_FILES = 64
"""The number of files that a process opens in addition to its sessions, for libraries, logs, and
Locust's connections.
"""
COARSE_S = 1e-5
STEP_MS = 5.0
WATCHED_S = 0.25
SHOWN_MS = 0.01
LIMIT_S = 5.0
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TCP_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def check_machine(chosen: ReaderChoice) -> Iterator[CheckFinding]:
    """Yield the findings about this machine, one for each check. `chosen` reads its sockets."""
    yield installation(compiled=COMPILED)
    yield open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield local_ports(*_port_range())
    yield timestamps()
    yield reader(chosen)
    yield clock_resolution(time.get_clock_info("monotonic").resolution)
    yield wall_clock()
    yield processors(core_count(), os.getloadavg()[0])
    yield priority(available_priority())


def installation(*, compiled: bool) -> CheckFinding:
    """Report the installed version. Warn if the compiled parts are missing.

    `compiled` is True if the installation has the compiled parts (in C), which lower the CPU cost
    per event.
    """
    message = f"rtbench {tool_version()} on Python {platform.python_version()}"
    message += (
        ", with the compiled parts"
        if compiled
        else ", without the compiled parts, which lower the CPU cost per event"
    )
    remedy = (
        "for many concurrent calls, install a C compiler and Python's headers, then install rtbench"
        " again"
    )
    return warning_unless(compiled, "installation", message, remedy)


def open_files(soft: int, hard: int) -> CheckFinding:
    """Check the limit on open files. Each session needs one file.

    `soft` and `hard` are the two values of RLIMIT_NOFILE. A negative value means that there is no
    limit.
    """
    if soft < 0:
        return CheckFinding("open files", "pass", "no limit")
    message = (
        f"{soft:,} allowed: enough for about {max(0, soft - OWN_FILES):,} sessions in one process"
    )
    maximum = "any number" if hard < 0 else f"up to {hard:,}"
    remedy = f"for more, run `ulimit -n 65536` before the run ({maximum} is allowed here)"
    return warning_unless(soft >= FEW_FILES, "open files", message, remedy)


def local_ports(first: int, last: int, used: int) -> CheckFinding:
    """Check the number of free local ports. Each connection to the same address needs one port.

    `first` and `last` are the first and last port of the range; both are 0 if the range is unknown.
    `used` is the number of ports in use.
    """
    if not last:
        return CheckFinding("local ports", "skipped", "the port range is unknown on this system")
    free = max(0, last - first + 1 - used)
    message = (
        f"{first:,} to {last:,}, {used:,} in use: {free:,} more connections to one address are"
        " possible"
    )
    remedy = 'widen the range: sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    return warning_unless(free >= FEW_PORTS, "local ports", message, remedy)


def timestamps() -> CheckFinding:
    """Check whether the kernel timestamps received data. If it does not, report which timestamps
    are used instead.
    """
    try:
        has_timestamps = kernel_timestamps(LIMIT_S)
    except (OSError, ConnectError) as error:
        return CheckFinding(
            "kernel timestamps",
            "warning",
            f"not checked: {error}",
            "allow loopback connections: the check needs one",
        )
    message = (
        "available (SO_TIMESTAMPING)"
        if has_timestamps
        else "not available: this process timestamps arrivals"
    )
    remedy = (
        "measure on Linux outside a sandbox; if you measure here, keep the load low, and check"
        " `receive_delay`"
    )
    return warning_unless(has_timestamps, "kernel timestamps", message, remedy)


def reader(chosen: ReaderChoice) -> CheckFinding:
    """Report what reads the sockets of sessions, and why it is not io_uring."""
    if chosen.name == "io_uring":
        return CheckFinding(
            "reader", "pass", "io_uring: few segments share a timestamp, also under load"
        )
    message = (
        f"epoll, not io_uring ({chosen.reason}): under load the uncertainty of values is larger"
    )
    return CheckFinding("reader", "skipped", message)


def clock_resolution(resolution_s: float) -> CheckFinding:
    message = f"the monotonic clock has steps of {resolution_s * NS_PER_S:,.0f} ns"
    remedy = "latencies cannot have a finer resolution than this: measure on another machine"
    return warning_unless(resolution_s <= COARSE_S, "clock", message, remedy)


def processors(cpus: int, load: float) -> CheckFinding:
    message = f"{cpus} for this process, load {load:.1f} over the last minute"
    return warning_unless(load <= BUSY * cpus, "processors", message, OTHERS)


def priority(available: Priority) -> CheckFinding:
    """Report whether the option `--priority` of a run has an effect on this machine.

    If it has no effect, the check is skipped and does not fail, because this is no defect of the
    machine. It has no remedy, because few runs need the option. A run with the option prints the
    remedy.
    """
    if not available.hindrance:
        return CheckFinding(
            "priority",
            "pass",
            f"available: a run with `--priority` has niceness {available.niceness}",
        )
    return CheckFinding(
        "priority", "skipped", f"the option `--priority` of a run {available.hindrance}"
    )


def wall_clock() -> CheckFinding:
    """Watch the wall clock for a moment. Warn if it moves against the monotonic clock."""
    monotonic_start_ns, wall_start_ns = now_with_realtime()
    time.sleep(WATCHED_S)
    monotonic_end_ns, wall_end_ns = now_with_realtime()
    moved_ns = (wall_end_ns - wall_start_ns) - (monotonic_end_ns - monotonic_start_ns)
    return judged_wall_clock(moved_ns / NS_PER_MS)


def judged_wall_clock(moved_ms: float) -> CheckFinding:
    moved = f"{moved_ms:+.2f} ms" if abs(moved_ms) >= SHOWN_MS else f"by less than {SHOWN_MS:g} ms"
    message = f"moved {moved} against the monotonic clock in {WATCHED_S:g} s"
    remedy = "the clock is being adjusted: try again when it is synchronised"
    return warning_unless(abs(moved_ms) <= STEP_MS, "wall clock", message, remedy)


def _port_range() -> tuple[int, int, int]:
    """Return the first local port, the last local port, and the number of ports in use; zeros if
    the range is unknown.

    In the kernel's tables of connections, the second column is ADDRESS:PORT in hexadecimal.
    """
    try:
        first, last = map(int, PORT_RANGE.read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return 0, 0, 0
    ports_in_use: set[int] = set()
    for table in TCP_TABLES:
        with suppress(OSError):
            ports_in_use.update(
                int(row.split()[1].rpartition(":")[2], 16)
                for row in table.read_text(encoding="ascii").splitlines()[1:]
            )
    return first, last, sum(first <= port <= last for port in ports_in_use)


DAY_S = 86_400
FEW_DAYS = 14
NAMES_SHOWN = 3


def check_network(target: Target, limits: Timeouts) -> Iterator[CheckFinding]:
    """Yield the findings about the network path, from the proxy to TLS. After a failed step, skip
    the later ones.

    The path of a telephone call is that of its signalling to the first hop: the outbound proxy, or
    the agent.
    """
    path = target.network_path
    if path.proxy is not None:
        yield (proxied := _proxied(target, path.proxy, limits))
        yield from _tls(target, limits, reached=proxied.result == "pass")
        return
    hop = target.first_hop
    target = replace(target, host=hop.host, port=hop.port, tls=hop.transport == "TLS")
    lookup_finding, addresses = _named(path.address or target.host, target.port, limits, target)
    yield lookup_finding
    # it has no connection, so only a call shows whether the agent is reachable
    if hop.transport == "UDP":
        return
    route_findings = [_try_route(address, limits, target) for address in addresses]
    reached = any(finding.result == "pass" for finding in route_findings)
    # If another address answers, a failed address is no failure. But every connection tries the
    # failed address first.
    remedy = (
        "another address answers, but each connection that tries this address first is delayed: set"
        " the other address with --resolve ADDRESS"
    )
    yield from (
        (
            replace(finding, result="warning", remedy=remedy)
            if finding.result == "fail" and reached
            else finding
        )
        for finding in route_findings
    )
    yield from _tls(target, limits, reached=reached)


def _named(
    host: str, port: int, limits: Timeouts, target: Target
) -> tuple[CheckFinding, list[Any]]:
    """Look up a name. Return a finding about the lookup and its duration, and the addresses of
    the name.
    """
    try:
        addresses, start_ns, done_ns = look_up(host, port, limits.tcp)
    except ConnectError as error:
        return _failed("dns", error.detail, error, target), []
    duration = _ms(done_ns - start_ns)
    hosts = [str(address[4][0]) for address in addresses]
    if hosts == [host]:
        known = "is set by --resolve" if target.network_path.address else "is an address"
        return CheckFinding("dns", "skipped", f"{host} {known}: no lookup"), addresses
    plural = "address" if len(hosts) == 1 else "addresses"
    return (
        CheckFinding(
            "dns", "pass", f"{host}: {len(hosts)} {plural} in {duration}: {', '.join(hosts)}"
        ),
        addresses,
    )


def _try_route(address: Any, limits: Timeouts, target: Target) -> CheckFinding:
    start_ns = monotonic_ns()
    try:
        connect_first([address], limits.tcp).close()
    except ConnectError as error:
        return _failed("tcp", error.detail, error, target)
    return CheckFinding(
        "tcp", "pass", f"{authority(*address[4][:2])} in {_ms(monotonic_ns() - start_ns)}"
    )


def _proxied(target: Target, proxy: Proxy, limits: Timeouts) -> CheckFinding:
    """Check the proxy, and then the tunnel through it. If the proxy is unreachable, skip the
    tunnel.
    """
    try:
        connect_first(
            look_up(proxy.host, proxy.port, limits.tcp).addresses, limits.tcp, "proxy"
        ).close()
    except ConnectError as error:
        return CheckFinding("proxy", "fail", f"{proxy.public}: {error.detail}", NO_PROXY)
    start_ns = monotonic_ns()
    try:
        open_tcp(target.host, target.port, limits, ConnectTimings(), target.network_path).close()
    except ConnectError as error:
        return _failed("proxy", f"{proxy.public}: {error.detail}", error, target)
    resolver = "the proxy" if proxy.remote_dns else "this machine"
    service_authority = authority(target.network_path.address or target.host, target.port)
    duration = _ms(monotonic_ns() - start_ns)
    message = (
        f"{proxy.public}: opened a tunnel to {service_authority} in {duration}; {resolver} resolves"
        " names"
    )
    return CheckFinding("proxy", "pass", message)


def _failed(name: str, message: str, error: ConnectError, target: Target) -> CheckFinding:
    return CheckFinding(
        name, "fail", message, explain(Refusal(error.outcome, error.causes), target)
    )


def _tls(target: Target, limits: Timeouts, *, reached: bool) -> Iterator[CheckFinding]:
    """Yield findings about TLS: version and cipher, and the certificate. An untrusted
    certificate is described, too.
    """
    if not reached:
        yield CheckFinding("tls", "skipped", "the service was not reached")
        return
    if not target.tls:
        yield CheckFinding("tls", "skipped", f"the connection to {target.host} does not use TLS")
        return
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
        yield warning_unless(
            _days_left(certificate) >= FEW_DAYS, "certificate", _described(certificate), remedy
        )


def _days_left(certificate: x509.Certificate) -> float:
    """Return the number of days until a certificate expires; negative if it has expired."""
    return (certificate.not_valid_after_utc.timestamp() - utc_ns() / NS_PER_S) / DAY_S


def _described(certificate: x509.Certificate) -> str:
    names = []
    with suppress(x509.ExtensionNotFound):
        extension = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        names = [str(name.value) for name in extension]
    more = len(names) - NAMES_SHOWN
    listed = ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    days = _days_left(certificate)
    left = f"{days:,.0f} days left" if days >= 0 else f"expired {-days:,.1f} days ago"
    subject = _common_name(certificate.subject)
    issuer = _common_name(certificate.issuer)
    return f"{subject}, issued by {issuer}, {left}; for {listed or 'no name'}"


def _insecure(target: Target, limits: Timeouts, error: ConnectError) -> CheckFinding:
    """Return the finding about a failed TLS connection, with the remedy that the error contains, if
    any.

    If the certificate is not trusted, the finding describes the certificate.
    """
    stated = numbers_of(Code.WITH_REMEDY, error.causes) or {"problem": error.detail, "remedy": ""}
    remedy = stated["remedy"] or explain(Refusal(error.outcome, error.causes), target)
    certificate_text = ""
    if error.outcome == "connect_failed:tls":
        # This context sends only the handshake, so it is safe to accept a certificate that is not
        # trusted.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with suppress(ConnectError):
            if certificate := _agreed(target, limits, context)[1]:
                certificate_text = f" (its certificate: {_described(certificate)})"
    return CheckFinding("tls", "fail", f"{stated['problem']}{certificate_text}", remedy)


def _agreed(
    target: Target, limits: Timeouts, context: ssl.SSLContext
) -> tuple[str, x509.Certificate | None]:
    """Connect with TLS. Return (description, certificate). Raise ConnectError.

    The description is a text with the TLS version, the cipher and the duration of the handshake.
    The certificate is None if the server sends none.
    """
    tcp = open_tcp(target.host, target.port, limits, ConnectTimings(), target.network_path)
    try:
        start_ns = monotonic_ns()
        session = shake_hands(tcp, context, target.host, limits.tls).session
        duration = _ms(monotonic_ns() - start_ns)
        encoded_certificate = session.getpeercert(binary_form=True)
    finally:
        tcp.close()
    cipher = (session.cipher() or ("no cipher",))[0]
    return (
        f"{session.version()} with {cipher} in {duration}",
        (
            None
            if encoded_certificate is None
            else x509.load_der_x509_certificate(encoded_certificate)
        ),
    )


def _common_name(name: x509.Name) -> str:
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if attributes := name.get_attributes_for_oid(oid):
            return str(attributes[0].value)
    return name.rfc4514_string() or "no name"


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:.1f} ms"
