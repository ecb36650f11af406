"""What the simulator does with a telephone call: when it rings, answers, refuses, changes the audio and hangs up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.base.units import NS_PER_S
from bench.transport.media.offer_answer import LocalMedia
from bench.transport.media.sdp import Direction
from bench.transport.sip.digest import DigestLogin


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request that the simulator sends in the dialog. `after_ns` starts at the ACK.

    INVITE and UPDATE offer the audio with `direction`. UPDATE without a direction has no offer.
    """

    after_ns: int
    method: Literal["BYE", "INVITE", "UPDATE"]
    direction: Direction | None = None
    reason: str = ""
    """The value of the header Reason of BYE."""


@dataclass(frozen=True, slots=True)
class LoginDemand:
    """Digest authentication that an INVITE needs."""

    login: DigestLogin
    realm: str = "simulator"
    code: Literal[401, 407] = 401
    algorithm: Literal["MD5", "SHA-256"] = "MD5"
    has_qop: bool = True
    uses_per_nonce: int = 1_000
    """The number of requests after which a nonce is stale."""


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """The plan of one call. Times start at the INVITE. None means that the response is not sent."""

    media: LocalMedia
    trying_ns: int | None = 0
    ringing_ns: int | None = None
    early_media_ns: int | None = None
    """The time of the response 183 with a session description."""
    final_ns: int | None = 0
    """The time of the final response. None means that the call rings until the caller cancels it."""
    code: int = 200
    phrase: str = ""
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Additional headers of the final response, such as Contact of a redirection."""
    demand: LoginDemand | None = None
    session_interval_s: int | None = None
    requests: tuple[PlannedRequest, ...] = ()
    max_ring_ns: int = 180 * NS_PER_S
    max_duration_ns: int = 14_400 * NS_PER_S
    """The time after which the simulator hangs up. Otherwise a call whose caller vanished would never end."""
