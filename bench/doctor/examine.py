"""Looks at a target in order, from its configuration to a turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from bench.dial import Dialer
from bench.doctor.explain import signed_by
from bench.doctor.finding import Finding, any_failed, printable
from bench.doctor.network import look_at_network
from bench.doctor.service import Visit
from bench.doctor.service_findings import lasting
from bench.errors import UsageError
from bench.limits import Limits
from bench.money import Prices
from bench.target.identity import SignInError
from bench.target.services import SERVICES, KnownService
from bench.target.target import Target
from bench.target.tokens import Answered, Keyring
from bench.transport.connect import warm_up

SHOWN_OF_CLAIM = 40
NOTHING_SENT = "neither a key nor a token is sent"
VARIABLES_SENT = "neither a key nor a token is sent by itself, but what variables hold, in the address or the upgrade"
INFORMING = ("no key is set: signing in", "through the proxy")
"""How those notices begin that are no warnings."""


def examine(target: Target, prices: Mapping[str, Prices], *, with_turn: bool) -> Iterator[Finding]:
    """Yield the findings of one target, from its configuration to a turn. Nothing secret is in what is found."""
    return _harmless(target, lambda keyring: _examined(target, keyring, prices, with_turn=with_turn))


def examine_offline(target: Target) -> Iterator[Finding]:
    """Yield what can be found of one target without the network. Nothing secret is in what is found."""
    return _harmless(target, lambda keyring: _examined_offline(target, keyring))


def _harmless(target: Target, look: Callable[[Keyring], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a look that is given the target's keyring, without what is secret or steers a terminal."""
    keyring = Keyring([target])
    try:
        for finding in look(keyring):
            shown = replace(finding, said=keyring.hide(finding.said), remedy=keyring.hide(finding.remedy))
            yield printable(shown)
    finally:
        keyring.close()


def _examined(target: Target, keyring: Keyring, prices: Mapping[str, Prices], *, with_turn: bool) -> Iterator[Finding]:
    warm_up()
    yield from configuration(target)
    yield (signed := sign_in(target, keyring))
    before = [signed]
    for finding in look_at_network(target, Limits()):
        before.append(finding)
        yield finding
    if any_failed(before):
        failed = ", ".join(dict.fromkeys(finding.name for finding in before if finding.state == "failed"))
        yield from (Finding(name, "skipped", f"needs {failed}") for name in ("upgrade", "session", "turn"))
        return
    answered = keyring.answered_by(target)
    visit = Visit(Dialer(target, keyring), prices, answered.claims if answered else {}, keyring.hide)
    yield from visit.findings(with_turn=with_turn)


def _examined_offline(target: Target, keyring: Keyring) -> Iterator[Finding]:
    yield from configuration(target)
    if signed_by(target) == "entra":
        yield Finding("sign-in", "skipped", "a token is asked for over the network")
    else:
        yield sign_in(target, keyring)
    yield Finding("service", "skipped", "neither the way there nor the service is looked at: --offline")


def configuration(target: Target) -> Iterator[Finding]:
    """The target's address and dialect, and what there is to say of them before anything is called."""
    known = SERVICES.get(target.service)
    said = f"{target.public_url}, {target.dialect.name} dialect{'' if known is None else _of(known)}"
    yield Finding("target", "ok", said)
    for notice in target.notices:
        words = notice.removeprefix(f"{target.label}: ")  # so it begins where several targets are in one file
        yield Finding("target", "ok" if words.startswith(INFORMING) else "warning", words)


def _of(known: KnownService) -> str:
    return f" of {known.title}" + (
        "" if known.minutes is None else f", whose sessions last {known.minutes} minutes at most"
    )


def sign_in(target: Target, keyring: Keyring) -> Finding:
    """The key, or the token, which is fetched."""
    signed = signed_by(target)
    if signed == "nothing" and target.secrets:
        return Finding("sign-in", "ok", VARIABLES_SENT)
    if signed == "nothing" and target.loopback:
        return Finding("sign-in", "ok", NOTHING_SENT)
    if signed == "nothing":
        return Finding("sign-in", "warning", NOTHING_SENT, "name the key's variable by --api-key-env, or --auth entra")
    if signed == "key":
        name, value = keyring.header(target, 0) or ("", "")
        scheme, _, key = value.rpartition(" ")
        said = f"a key of {len(key)} characters, in the header {name}"
        return Finding("sign-in", "ok", f"{said} ({scheme})" if scheme == "Basic" else said)
    try:
        keyring.open()
    except UsageError as error:
        cause = error.__cause__
        why, remedy = (cause.why, cause.remedy) if isinstance(cause, SignInError) else (str(error), "")
        return Finding("sign-in", "failed", why, remedy)
    answered = keyring.answered_by(target)
    return Finding("sign-in", "ok", "a token" if answered is None else _answered(answered))


def _answered(answered: Answered) -> str:
    """Who gave the token, for what and how long; of its claims no more than tells identities apart."""
    claims = ", ".join(f"{name} {value[:SHOWN_OF_CLAIM]}" for name, value in answered.claims.items() if name != "exp")
    lives = f"lives {lasting(answered.seconds_left)}, for {answered.scope}"
    return f"{answered.credential} gave a token that {lives}" + (f" ({claims})" if claims else "")
