"""The tokens of a run. They are fetched before its sessions, renewed in the background, and hidden
in every text.

There is one token for each way of signing in. All targets that sign in in this way share the token.
It is renewed when half of its life is over, so callers wait only for the first token. After a
failed renewal, the old token is used. A key that the service of a target issues for its calls is
renewed in the same way.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Final

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import UsageError, closed_on_failure
from bench.base.units import NS_PER_S
from bench.catalogue.causes import ConnectError, cleaned
from bench.catalogue.timeouts import Timeouts
from bench.files.values import stated_end_s
from bench.target.identity import (
    FETCH_LIMIT_S,
    FIRST_RETRIES,
    Fetch,
    SignInError,
    Token,
    environment_secrets,
    fetch_token,
    read_token,
    sign_in_error,
)
from bench.target.network_path import proxy_secrets, turn_secrets
from bench.target.target import Credential, EntraSignIn, Target, redacted
from bench.transport.gevent_patch import with_timeout
from bench.transport.interface import ConnectRequest, ConnectTimings
from bench.transport.links import CALL_KEYS
from bench.transport.tls import tls_context
from bench.wire.dialect import secret_placeholder

MARGIN_S = 0.5
"""The last part of a token's life, in which it is not sent, because it could expire before its
check."""
MIN_PAUSE_S = 0.5
MAX_PAUSE_S = 6 * 60 * 60.0
"""The maximum time between two renewals. An issuer may state an end that no timer can wait for."""
MAX_BACKOFF_S = 60.0
MAX_OUTAGE_BACKOFF_S = 5.0
"""The maximum time between two renewals without a valid token. It is short, because sessions
fail meanwhile."""
MAX_SESSION_NS = 60 * 60 * NS_PER_S
"""The time after a token's end for which a session that was opened with it may still quote it."""
REFRESH: Final = "auth_refresh"
MIN_KEY_LIFE_S = 60
"""The life of an issued key without a plausible end (`stated_end_s`): the shortest of the
services."""
ENTRA = "signing in through Entra ID"

NoteIncident = Callable[[str, str], None]
"""A callback for incidents of the load generator outside of its sessions: (kind, one line of
text)."""


def ignore(kind: str, text: str) -> None:
    """Ignore an incident."""


@dataclass(frozen=True)
class TokenSource:
    """The origin of a token, and its claims aud, tid, appid, azp, oid and exp; {} if it is not a
    JWT.
    """

    credential: str
    scope: str
    seconds_left: float
    claims: dict[str, str] = field(default_factory=dict)


# One process has one keyring, which hides and renews all of its secrets. Sessions ask for a header
# at each connection, so a renewed token needs no message to anyone. A session that is open keeps
# the token that it was opened with. Therefore old tokens stay in the list that is redacted.
#
# Outages are visible and bounded. While a token is valid, a failed renewal is an incident, and no
# session notices it. When none is valid, each start of a session waits, for as long as its own
# limit of connecting permits, and then fails with `connect_failed:token`. Waiting callers are
# counted, because they delay the load.
class Keyring:
    """The credentials for all targets. Each process has one keyring per run. No other object stores
    tokens.

    `mcp_tokens` are the access tokens that the service sends to MCP servers. Their names are
    environment variables.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        *,
        mcp_tokens: Sequence[Credential] = (),
        incident: NoteIncident = ignore,
        fetch: Fetch = fetch_token,
    ) -> None:
        targets = list(targets)
        self._secrets = [*_secrets(targets), *mcp_tokens]
        self._found: dict[str, Credential] = {}
        """The secrets that transports found."""
        self._mcp_tokens = mcp_tokens
        sign_ins = {target.auth for target in targets if isinstance(target.auth, EntraSignIn)}

        def note(kind: str, text: str) -> None:
            incident(kind, self.redact(text))

        self._renewers = {
            sign_in: TokenRenewer(
                partial(fetch, sign_in), partial(sign_in_error, sign_in), ENTRA, note
            )
            for sign_in in sign_ins
        }
        self._call_keys = {
            target.label: TokenRenewer(
                partial(self._fetched_call_key, target),
                partial(call_key_error, target),
                f"the renewal of the {CALL_KEYS[target.link].name}",
                note,
            )
            for target in targets
            if target.network_path.has_call_key
        }

    def open(self) -> None:
        """Fetch every token and issued key, and start to renew them. Raise UsageError, with one
        line, on a refusal.

        This blocks on networks and processes. So call it after gevent has patched them, or when
        nothing else runs.
        """
        with closed_on_failure(self):
            self.open_tokens()
            self.open_call_keys()

    def open_tokens(self) -> None:
        """Fetch the tokens. Raise UsageError, as `open` does."""
        if self._renewers:
            self._secrets += environment_secrets()
        for sign_in in self._renewers.values():
            sign_in.open()

    def open_call_keys(self) -> None:
        """Request the keys for calls. Raise UsageError, as `open` does."""
        for renewer in self._call_keys.values():
            renewer.open()

    def header(self, target: Target, limit_s: float) -> tuple[str, str] | None:
        """Return (name, value) of the header that signs in to a target; None if the target needs
        none.

        Block while no token is valid, and raise ConnectError `connect_failed:token` after
        `limit_s`.
        """
        auth = target.auth
        if isinstance(auth, EntraSignIn):
            return self._renewers[auth].token(limit_s).bearer.header()
        return None if auth is None else auth.header()

    def call_header(self, target: Target, limit_s: float) -> tuple[str, str] | None:
        """Return (name, value) of the header with the issued key of a target; None if it has none.

        Block while no key is valid, and raise ConnectError `connect_failed:token` after `limit_s`.
        """
        renewer = self._call_keys.get(target.label)
        return None if renewer is None else renewer.token(limit_s).bearer.header()

    def call_key_seconds_left(self, target: Target) -> float | None:
        """Return the remaining life of a target's issued key; None if its end is not stated."""
        token = self._call_keys[target.label].current_token
        if token is None:
            return 0.0
        return _left_s(token) if token.has_stated_end else None

    def _fetched_call_key(self, target: Target, retries: int) -> Token:
        """Return a new key for the calls of a target. Raise SignInError."""
        limits = Timeouts()
        path = target.network_path
        context = tls_context(path.ca, path.client_cert, path.client_key) if target.tls else None
        try:
            own = self.header(target, limits.upgrade)
            headers = [*target.connection_headers(""), *([own] if own else [])]
            key = CALL_KEYS[target.link].request(
                ConnectRequest(target.url, headers, context, limits, ConnectTimings(), path)
            )
        except ConnectError as error:
            refusal = ConnectError(error.outcome, cleaned(error.causes, self.redact))
            raise call_key_error(target, refusal) from None
        now_s = utc_ns() / NS_PER_S
        stated_s = stated_end_s(key.expires_s, now_s)
        expires_s = now_s + MIN_KEY_LIFE_S if stated_s is None else stated_s
        token = read_token(key.secret, math.ceil(expires_s), "client_secrets")
        return replace(token, has_stated_end=stated_s is not None)

    def fill(self, message: bytes) -> bytes:
        """Return a message in which the tokens of MCP servers replace their placeholders."""
        for credential in self._mcp_tokens:
            variable, token = credential.header()
            message = message.replace(
                secret_placeholder(variable).encode(), json.dumps(token)[1:-1].encode()
            )
        return message

    def hide(self, name: str, secret: str) -> None:
        """Hide a secret that a transport found, from now on."""
        if secret not in self._found:
            self._found[secret] = Credential(name, secret)

    def redact(self, text: str) -> str:
        """Return the text without keys, tokens, values of variables in headers, and passwords of
        proxies.

        A service may quote them. So each external text comes here on arrival, before it is
        truncated.
        """
        tokens = (token.bearer for renewer in self._every for token in renewer.tokens)
        return redacted(text, (*self._secrets, *self._found.values(), *tokens))

    @property
    def waiter_count(self) -> int:
        """The number of callers that wait for a token because no token is valid."""
        return sum(renewer.waiter_count for renewer in self._every)

    @property
    def _every(self) -> Iterator[TokenRenewer]:
        return chain(self._renewers.values(), self._call_keys.values())

    def answered_by(self, target: Target) -> TokenSource | None:
        """Return the origin of a target's token; None if the target has no token."""
        sign_in = self._renewers.get(target.auth) if isinstance(target.auth, EntraSignIn) else None
        token = None if sign_in is None else sign_in.current_token
        if token is None or not isinstance(target.auth, EntraSignIn):
            return None
        return TokenSource(token.issuer, target.auth.scope, _left_s(token), dict(token.claims))

    def close(self) -> None:
        """Stop the renewal of tokens."""
        for renewer in self._every:
            renewer.close()


def call_key_error(target: Target, error: Exception) -> SignInError:
    """Return a one-line error for a request of a key for calls."""
    keys = CALL_KEYS[target.link]
    return SignInError(f"no {keys.name} for {target.link.title} ({error})", keys.remedy)


class TokenRenewer:
    """The renewer, a thread or greenlet, of the token for one way of signing in.

    `fetch` returns a new token. Its argument is the number of retries. `error_of` makes its error
    from another one. `what` names the renewal in incidents. `tokens` are all tokens that a text may
    still contain, the newest last.
    """

    def __init__(
        self,
        fetch: Callable[[int], Token],
        error_of: Callable[[Exception], SignInError],
        what: str,
        incident: NoteIncident,
    ) -> None:
        self._fetch = fetch
        self._error_of = error_of
        self._what = what
        self._incident = incident
        self.tokens: tuple[Token, ...] = ()
        self._error = "no token was received"
        self._requested_ns: int | None = None
        self._failures = 0
        self.waiter_count = 0
        """The number of callers that wait for a valid token."""
        self._renewed = threading.Condition()
        self._closed = threading.Event()

    def open(self) -> None:
        """Fetch the first token and start renewing. Raise UsageError."""
        try:
            self._store(self._fetched(FIRST_RETRIES))
        except SignInError as error:
            raise UsageError(str(error)) from error
        threading.Thread(target=self._renew_for_ever, name="rtbench-sign-in", daemon=True).start()

    def token(self, limit_s: float) -> Token:
        """Return a valid token. Raise ConnectError if there is no valid token within `limit_s`."""
        if (token := self._living()) is not None:
            return token
        with self._renewed:
            self.waiter_count += 1
            try:
                token = self._renewed.wait_for(self._living, limit_s)
            finally:
                self.waiter_count -= 1
        if token is None:
            request_ns = self._requested_ns
            reason = self._error
            if request_ns is not None:
                reason += (
                    f"; the next one was requested {(monotonic_ns() - request_ns) / NS_PER_S:.0f}"
                    " s ago"
                )
            raise ConnectError("connect_failed:token", reason)
        return token

    @property
    def current_token(self) -> Token | None:
        return self.tokens[-1] if self.tokens else None

    def close(self) -> None:
        self._closed.set()

    def _living(self) -> Token | None:
        return (
            self.current_token
            if self.current_token is not None and _left_s(self.current_token) > MARGIN_S
            else None
        )

    def _renew_for_ever(self) -> None:
        while not self._closed.wait(self._pause_s()):
            # an exception of the incident callback must not end the loop; only `close` does
            with suppress(Exception):
                self._renew()

    def _pause_s(self) -> float:
        """Return the time to wait before the next renewal, which is never zero.

        It is half of the token's remaining life, but at most MAX_PAUSE_S. After a failure it is at
        most the back-off, which doubles with each failure. While no token is valid, it is at most
        MAX_OUTAGE_BACKOFF_S.
        """
        left_s = (
            0.0 if self.current_token is None else max(0.0, _left_s(self.current_token) - MARGIN_S)
        )
        if not self._failures:
            return min(MAX_PAUSE_S, max(MIN_PAUSE_S, left_s / 2))
        backoff_s = min(MAX_BACKOFF_S, 2.0 ** min(self._failures - 1, 10))
        limit_s = max(MIN_PAUSE_S, left_s / 2) if left_s else MAX_OUTAGE_BACKOFF_S
        return min(backoff_s, limit_s)

    def _renew(self) -> None:
        try:
            token = self._fetched(0)
        except SignInError as error:
            self._failed(error.reason)
            return
        if self._closed.is_set():
            return
        failures = self._failures
        self._store(token)
        if failures:
            times = "1 failure" if failures == 1 else f"{failures} failures"
            self._incident(REFRESH, f"{self._what} works again after {times}")

    def _fetched(self, retries: int) -> Token:
        """Return a new token. Raise SignInError, also if it takes longer than FETCH_LIMIT_S."""
        self._requested_ns = monotonic_ns()
        try:
            return with_timeout(FETCH_LIMIT_S, lambda: self._fetch(retries))
        except TimeoutError:
            raise self._error_of(TimeoutError(f"no answer within {FETCH_LIMIT_S:g} s")) from None
        finally:
            self._requested_ns = None

    def _store(self, token: Token) -> None:
        """Use a new token from now on. Ignore it if it does not expire later than the current
        token.
        """
        self._failures = 0
        if self.current_token is not None and token.expires_ns <= self.current_token.expires_ns:
            return
        ended_ns = monotonic_ns() - MAX_SESSION_NS
        same = token.bearer.header()
        # A session that is still open may have been opened with a token that ended after this
        # instant.
        quotable = (
            old for old in self.tokens if old.expires_ns > ended_ns and old.bearer.header() != same
        )
        with self._renewed:
            self.tokens = (*quotable, token)
            self._renewed.notify_all()

    def _failed(self, problem: str) -> None:
        if self._closed.is_set():
            return
        self._failures += 1
        self._error = problem
        left_s = 0.0 if self.current_token is None else _left_s(self.current_token)
        state = (
            f"the token is valid for another {left_s:.0f} s" if left_s > 0 else "no token is valid"
        )
        self._incident(REFRESH, f"{problem} ({state}; next try in {self._pause_s():.1f} s)")


def _left_s(token: Token) -> float:
    return (token.expires_ns - monotonic_ns()) / NS_PER_S


def _secrets(targets: Iterable[Target]) -> Iterator[Credential]:
    """Yield the secrets of targets: keys, values of variables, and secrets of proxies."""
    for target in targets:
        if isinstance(target.auth, Credential):
            yield target.auth
        yield from target.secrets
        if target.network_path.proxy is not None:
            yield from proxy_secrets(target.network_path.proxy)
        if target.network_path.turn is not None:
            yield from turn_secrets(target.network_path.turn)
