"""The messages of an event stream, and the signatures of a client's request and messages (AWS
Signature Version 4), as a service checks them. Pure.

The simulator's key is the secret access key. The client uses botocore, so a mistake there is found
here.
"""

import hashlib
import hmac
import re
import struct
import time
import zlib
from collections.abc import Mapping
from urllib.parse import quote

MEDIA_TYPE = "application/vnd.amazon.eventstream"
HOSTS = {"host", ":authority"}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/, ]+/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9:;-]+), ?Signature=([0-9a-f]{64})"
)
_DATE = b"\x05:date\x08"


# It recomputes what the client must have signed: first the canonical request of Signature Version
# 4, then for each message a string with the signature before. A message that is lost or changed
# breaks all that follow, so one comparison per message proves the whole stream.
class SignatureChain:
    """The signatures of one session. Each depends on the one before."""

    def __init__(self, secret: str, path: str, headers: Mapping[str, str]) -> None:
        self._secret = secret
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        self._region, self._service, self._before = found.group(2, 3, 5) if found else ("", "", "")
        self.is_valid = found is not None and self._matches(found, path, headers)

    def _matches(self, found: re.Match[str], path: str, headers: Mapping[str, str]) -> bool:
        names = found[4].split(";")
        # the SDK for JavaScript signs `:authority` in place of `host`
        if not {"x-amz-date", "x-amz-content-sha256"} <= set(names) or not HOSTS & set(names):
            return False
        canonical = [
            "POST",
            quote(path.partition("?")[0], safe="/~"),  # the SDK for Python has an empty query
            "",
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
            "",
            found[4],
            headers["x-amz-content-sha256"],
        ]
        digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        at = headers.get("x-amz-date", "")
        text = "\n".join(("AWS4-HMAC-SHA256", at, self._scope(found[1]), digest))
        return hmac.compare_digest(self._sign(found[1], text), found[5])

    def accepts(self, date_ms: int, payload: bytes, signature: bytes) -> bool:
        """Return whether the signature of the next message is right."""
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(date_ms // 1000))
        headers = hashlib.sha256(_DATE + struct.pack(">q", date_ms)).hexdigest()
        content = hashlib.sha256(payload).hexdigest()
        scope = self._scope(at[:8])
        text = "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", at, scope, self._before, headers, content))
        self._before = self._sign(at[:8], text)
        return hmac.compare_digest(self._before, signature.hex())

    def _scope(self, day: str) -> str:
        return f"{day}/{self._region}/{self._service}/aws4_request"

    def _sign(self, day: str, text: str) -> str:
        key = b"AWS4" + self._secret.encode()
        for part in (day, self._region, self._service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def encoded(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return a message of an event stream. All headers are texts."""
    fields = b"".join(
        bytes((len(name),)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    head = struct.pack(">II", len(fields) + len(payload) + 16, len(fields))
    whole = head + struct.pack(">I", zlib.crc32(head)) + fields + payload
    return whole + struct.pack(">I", zlib.crc32(whole))
