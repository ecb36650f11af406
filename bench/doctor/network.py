"""Looks at the way to a service before it is asked for anything: proxy, name, addresses, TLS, certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from bench.clock import monotonic_ns, utc_ns
from bench.doctor.explain import Refusal, explain
from bench.doctor.finding import Finding
from bench.errors import ConnectError, UsageError
from bench.limits import Limits
from bench.remedies import NO_PROXY
from bench.target.target import Target
from bench.transport.connect import connect_first, look_up, open_tcp
from bench.transport.interface import Phases, authority
from bench.transport.tcp import TcpStream
from bench.transport.tls import shake_hands, tls_context
from bench.units import NS_PER_MS, NS_PER_S

DAY_S = 86_400
FEW_DAYS = 14
NAMES_SHOWN = 3


@dataclass(frozen=True)
class Certificate:
    """What a server shows of itself. `days_left` is negative where it has ended."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    days_left: float


def look_at_network(target: Target, limits: Limits) -> Iterator[Finding]:
    """Yield the findings from the proxy to TLS. What is behind a step that failed is skipped."""
    path = target.network_path
    if path.proxy is not None:
        yield from (proxied := list(_proxy(target, limits)))
        yield from _behind(target, limits, reached=all(finding.state != "failed" for finding in proxied))
        return
    host, port = path.address or target.host, target.port
    found, addresses = _named(host, port, limits, target)
    yield found
    tried = [_tried(address, limits, target) for address in addresses]
    reached = any(finding.state == "ok" for finding in tried)
    # no failure where another address answers; every connection tries this one first, though
    slow = "another address answers; if this one comes first, each connection waits for it: see --resolve"
    yield from (
        replace(finding, state="warning", remedy=slow) if finding.state == "failed" and reached else finding
        for finding in tried
    )
    yield from _behind(target, limits, reached=reached)


def _named(host: str, port: int, limits: Limits, target: Target) -> tuple[Finding, list[Any]]:
    """The name's addresses, and how long looking them up took."""
    began_ns = monotonic_ns()
    try:
        addresses = look_up(host, port, limits.tcp)
    except ConnectError as error:
        return Finding("dns", "failed", error.detail, explain(Refusal(error.outcome, error.detail), target)), []
    took = _ms(monotonic_ns() - began_ns)
    places = [str(address[4][0]) for address in addresses]
    if places == [host]:
        known = "is named by --resolve" if target.network_path.address else "is an address"
        return Finding("dns", "skipped", f"{host} {known}: no lookup"), addresses
    plural = "address" if len(places) == 1 else "addresses"
    return Finding("dns", "ok", f"{host}: {len(places)} {plural} in {took}: {', '.join(places)}"), addresses


def _tried(address: Any, limits: Limits, target: Target) -> Finding:
    began_ns = monotonic_ns()
    try:
        connect_first([address], limits.tcp).close()
    except ConnectError as error:
        return Finding("tcp", "failed", error.detail, explain(Refusal(error.outcome, error.detail), target))
    return Finding("tcp", "ok", f"{authority(*address[4][:2])} in {_ms(monotonic_ns() - began_ns)}")


def _proxy(target: Target, limits: Limits) -> Iterator[Finding]:
    """The proxy, and the tunnel that it opens: whoever does not reach the one is told nothing of the other."""
    proxy = target.network_path.proxy
    assert proxy is not None
    try:
        connect_first(look_up(proxy.host, proxy.port, limits.tcp), limits.tcp, "proxy").close()
    except ConnectError as error:
        yield Finding("proxy", "failed", f"{proxy.public}: {error.detail}", NO_PROXY)
        return
    began_ns = monotonic_ns()
    try:
        _opened(target, limits).close()
    except ConnectError as error:
        remedy = explain(Refusal(error.outcome, error.detail), target)
        yield Finding("proxy", "failed", f"{proxy.public}: {error.detail}", remedy)
        return
    by = "the proxy" if proxy.remote_dns else "this machine"
    place = authority(target.network_path.address or target.host, target.port)
    yield Finding("proxy", "ok", f"{proxy.public}: a tunnel to {place} in {_ms(monotonic_ns() - began_ns)}; "
                                 f"names are looked up by {by}")  # fmt: skip


def _opened(target: Target, limits: Limits) -> TcpStream:
    """A connection to the service, or a tunnel to it; raises ConnectError."""
    return open_tcp(target.host, target.port, limits, Phases(), target.network_path)


def _behind(target: Target, limits: Limits, *, reached: bool) -> Iterator[Finding]:
    if not reached:
        yield Finding("tls", "skipped", "the service was not reached")
    elif not target.tls:
        yield Finding("tls", "skipped", f"{target.host} is called without TLS")
    else:
        yield from secured(target, limits)


def secured(target: Target, limits: Limits) -> Iterator[Finding]:
    """Version, cipher and certificate; where the certificate is not trusted, whose it is all the same."""
    path = target.network_path
    try:
        context = tls_context(path.ca, path.client_cert, path.client_key)
        agreed, certificate = _agreed(target, limits, context)
    except UsageError as error:
        yield Finding("tls", "failed", str(error))
        return
    except ConnectError as error:
        yield _insecure(target, limits, error)
        return
    yield Finding("tls", "ok", agreed)
    if certificate is not None:
        yield judged_certificate(certificate)


def judged_certificate(certificate: Certificate) -> Finding:
    if certificate.days_left >= FEW_DAYS:
        return Finding("certificate", "ok", _described(certificate))
    remedy = "whoever runs the server must renew it before it ends"
    return Finding("certificate", "warning", _described(certificate), remedy)


def _described(certificate: Certificate) -> str:
    more = len(certificate.names) - NAMES_SHOWN
    listed = ", ".join(certificate.names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    days = certificate.days_left
    left = f"{days:,.0f} days left" if days >= 0 else f"ended {-days:,.1f} days ago"
    return f"{certificate.subject}, issued by {certificate.issuer}, {left}; for {listed or 'no name'}"


def _insecure(target: Target, limits: Limits, error: ConnectError) -> Finding:
    """Where the error names its remedy, that is the one."""
    problem, _, remedy = error.detail.partition("; ")
    certificate = _untrusted(target, limits) if error.outcome == "refused:tls" else None
    shown = "" if certificate is None else f" (its certificate: {_described(certificate)})"
    remedy = remedy or explain(Refusal(error.outcome, error.detail), target)
    return Finding("tls", "failed", f"{problem}{shown}", remedy)


def _untrusted(target: Target, limits: Limits) -> Certificate | None:
    """The certificate of a server that is not trusted: to be shown, nothing is sent there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return _agreed(target, limits, context)[1]
    except ConnectError:
        return None


def _agreed(target: Target, limits: Limits, context: ssl.SSLContext) -> tuple[str, Certificate | None]:
    """(version and cipher with the time they took, the certificate); raises ConnectError."""
    tcp = _opened(target, limits)
    try:
        began_ns = monotonic_ns()
        session = shake_hands(tcp, context, target.host, limits.tls).session
        took = _ms(monotonic_ns() - began_ns)
        shown = session.getpeercert(binary_form=True)
    finally:
        tcp.close()
    cipher = (session.cipher() or ("no cipher",))[0]
    return f"{session.version()} with {cipher} in {took}", None if shown is None else read_certificate(shown)


def read_certificate(der: bytes) -> Certificate:
    """A certificate in DER (RFC 5280)."""
    read = x509.load_der_x509_certificate(der)
    left_s = read.not_valid_after_utc.timestamp() - utc_ns() / NS_PER_S
    return Certificate(_common_name(read.subject), _common_name(read.issuer), _names(read), left_s / DAY_S)


def _common_name(name: x509.Name) -> str:
    for part in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := name.get_attributes_for_oid(part):
            return str(found[0].value)
    return name.rfc4514_string() or "no name"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:.1f} ms"
