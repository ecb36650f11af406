"""AWS's credentials, and the signatures of a request and of the messages that follow it.

botocore finds the credentials as other clients of AWS do, and signs the request (Signature Version
4). Each message has a signature of its own, which includes the one before (`signEvent` of
@smithy/signature-v4, `AsyncEventSigner` of aws-sdk-signers). Both SDKs end with a signed message
without payload.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from bench.base.clock import utc_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.protocols.event_stream.messages import (
    MEDIA_TYPE,
    chunk,
    encoded_headers,
    encoded_message,
)
from bench.wire.addresses import is_loopback
from bench.wire.service import FIRST_REGION

SERVICE = "bedrock"
NO_BODY_HASH = "STREAMING-AWS4-HMAC-SHA256-EVENTS"
"""What replaces the hash of a body whose messages are signed."""
NO_TOKEN = "connect_failed:token"  # an outcome

LOCAL = ReadOnlyCredentials("SIMULATED", "no-secret", None)
"""What signs requests to this machine, if there are no credentials."""
_REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.")


class Signing(NamedTuple):
    """The credentials and the region with which a session is signed."""

    credentials: ReadOnlyCredentials
    region: str

    def __repr__(self) -> str:
        return "Signing(hidden)"

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets by name. AWS repeats the signed headers of a request that it refuses."""
        key, token = self.credentials.secret_key, self.credentials.token
        return {"secret key": key} | ({"session token": token} if token else {})


@cache
def _session() -> Session:
    return Session()


@cache
def _found() -> Any:
    """Return botocore's credentials, which renew themselves; None if it finds none."""
    return _session().get_credentials()


def signing_for(host: str) -> Signing:
    """Return what signs a session with a host. Raise ConnectError `connect_failed:token`."""
    is_local = is_loopback(host)
    try:
        found = _found()
        credentials = None if found is None else found.get_frozen_credentials()
        region = _session().get_config_variable("region")
    except BotoCoreError as error:
        if not is_local:
            raise ConnectError(NO_TOKEN, f"AWS credentials: {error}") from None
        credentials, region = None, None
    if credentials is None and not is_local:
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise ConnectError(NO_TOKEN, f"there are no AWS credentials: {remedy}")
    in_host = _REGION.search(host)
    region = in_host[1] if in_host else region or (FIRST_REGION if is_local else "")
    if not region:
        problem = f"{host} does not name its region: set AWS_REGION"
        raise ConnectError(NO_TOKEN, problem)
    return Signing(credentials or LOCAL, region)


class SessionSigner:
    """The signer of one session: first its request, then each of its messages."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing
        self._before = ""
        self._day = ""
        self._key = b""

    def signed_headers(self, url: str, host: str) -> list[tuple[str, str]]:
        """Return the headers of the request. `host` is with the port, if it is not the usual
        one.
        """
        own = {"host": host, "content-type": MEDIA_TYPE, "X-Amz-Content-SHA256": NO_BODY_HASH}
        request = AWSRequest("POST", url, headers=own, data=b"")
        SigV4Auth(self._signing.credentials, SERVICE, self._signing.region).add_auth(request)
        signed: Iterable[tuple[str, str]] = request.headers.items()
        headers = [(name.lower(), str(value)) for name, value in signed]
        self._before = dict(headers)["authorization"].rpartition("Signature=")[2]
        return [(name, value) for name, value in headers if name != "host"]

    def signed_event(self, event: bytes | memoryview) -> bytes:
        """Return the message of an event, in a message with its signature."""
        return self._signed(chunk(event))

    def signed_end(self) -> bytes:
        """Return the message that ends the client's messages."""
        return self._signed(b"")

    def _signed(self, payload: bytes) -> bytes:
        now_ms = utc_ns() // NS_PER_MS
        # The string to sign has the signature before it, so a lost, repeated, or reordered message
        # breaks all that follow. Therefore messages are signed when they are queued, in the order
        # in which they leave.
        date = encoded_headers({":date": now_ms})
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_ms * NS_PER_MS // NS_PER_S))
        day = at[:8]
        scope = f"{day}/{self._signing.region}/{SERVICE}/aws4_request"
        hashes = hashlib.sha256(date).hexdigest(), hashlib.sha256(payload).hexdigest()
        text = "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", at, scope, self._before, *hashes))
        signature = _hash(self._key_of(day), text)
        self._before = signature.hex()
        return encoded_message(date + encoded_headers({":chunk-signature": signature}), payload)

    def _key_of(self, day: str) -> bytes:
        """Return the key of a day in UTC. It depends on nothing else that changes."""
        if day != self._day:
            key = f"AWS4{self._signing.credentials.secret_key}".encode()
            for part in (day, self._signing.region, SERVICE, "aws4_request"):
                key = _hash(key, part)
            self._day = day
            self._key = key
        return self._key


def _hash(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
