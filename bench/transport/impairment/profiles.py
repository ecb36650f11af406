"""The profiles of the caller's network, and the values of a target's key `network`.

RTP packets are dropped and delayed. A WebSocket is a stream of TCP: it drops nothing, but stalls,
and has a limited rate. Each profile has values for both.

docs/targets.md has the table of the profiles. The sources of their values:

- the share and the length of losses of `wifi` and `mobile`: the presets `wifi` and `cellular` of
  str0m's network emulator (algesten/str0m, crate str0m-netem). 3GPP TS 23.203, table 6.1.7, permits
  1 % for voice over LTE (QCI 1)
- the loss of `congested`: the second lowest rate of the parameters for evaluation in RFC 8868
- jitter of `mobile`, and rate: the condition 3G of Loadero (50 ms, 1,200 kbit/s)
- the length of an `outage`: the usual T311 of 3GPP TS 36.331 (1 s), in which a phone searches for
  another cell
- the rate of `congested`: just more than an open microphone in the Realtime API needs (540 kbit/s)

All other values are assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.base.errors import UsageError
from bench.files.validation import Converted, Number, RegexString, field_key

if TYPE_CHECKING:
    from bench.files.yaml_file import LocatedValue

MAX_LOSS_PERCENT = 50
OWN = "own"
"""The name of a network that is no profile."""
SHARE_TEXT = f"a share of packets up to {MAX_LOSS_PERCENT}%, as in 1%"


def _share(value: LocatedValue, text: str) -> float:
    percent = float(text.removesuffix("%"))
    if percent > MAX_LOSS_PERCENT:
        raise value.type_error(SHARE_TEXT)
    return percent / 100


@dataclass(frozen=True)
class NetworkProfile:
    """The properties of the caller's network in the direction to the service. None: the network
    does not have it.
    """

    loss: float | None = field_key(
        Converted(RegexString(r"\d{1,2}(\.\d{1,4})?%", SHARE_TEXT), _share),
        "Share of the RTP packets that are dropped.",
    )
    burst: float | None = field_key(
        Number(1, 1_000, "of packets"),
        "Mean number of packets that are dropped in a row (default: independent ones).",
    )
    jitter_ms: float | None = field_key(
        Number(0, 1_000, "of ms"), "Maximum delay of an RTP packet; each has a random one from 0."
    )
    stall_ms: float | None = field_key(
        Number(1, 60_000, "of ms"), "Duration of a stall of a WebSocket."
    )
    stall_every_s: float | None = field_key(
        Number(0.1, 86_400, "of seconds"), "Mean time from the end of a stall to the next one."
    )
    rate_kbit: float | None = field_key(
        Number(1, 1_000_000, "of kbit/s"), "Maximum rate of a WebSocket's messages, in kbit/s."
    )
    name: str = OWN

    @property
    def settings(self) -> dict[str, Any]:
        """The name and the values, as run.json has them."""
        loss = {} if self.loss is None else {"loss": f"{100 * self.loss:g}%"}
        others = {key: getattr(self, key) for key in KEYS if key != "loss"}
        return {
            "profile": self.name,
            **loss,
            **{key: value for key, value in others.items() if value is not None},
        }


OF_PACKETS = {"loss": None, "burst": "loss", "jitter_ms": None}
"""The keys for RTP, each with the key that it needs."""
OF_STREAMS = {"stall_ms": "stall_every_s", "stall_every_s": "stall_ms", "rate_kbit": None}
"""The keys for a WebSocket, each with the key that it needs."""
KEYS = (*OF_PACKETS, *OF_STREAMS)

PROFILES: Mapping[str, NetworkProfile] = {
    "good": NetworkProfile(name="good"),
    "wifi": NetworkProfile(0.01, 2, 15, 100, 10, 5_000, "wifi"),
    "mobile": NetworkProfile(0.02, 2, 50, 300, 15, 1_200, "mobile"),
    "congested": NetworkProfile(0.05, 3, 100, 500, 10, 640, "congested"),
    "outage": NetworkProfile(0.05, 50, None, 1_000, 20, None, "outage"),
}


def network_of(setting: str | NetworkProfile, *, in_packets: bool) -> NetworkProfile:
    """Return the network of a target. A profile has only the values for its transport.

    `in_packets` is True if the caller's audio travels in RTP packets. Raise UsageError with a text
    that follows the name of the setting.
    """
    needed, others = (OF_PACKETS, OF_STREAMS) if in_packets else (OF_STREAMS, OF_PACKETS)
    if isinstance(setting, str):
        # A profile is one name for both transports, so its other half is left out without an error.
        # A value that a user writes for the wrong transport is a mistake.
        absent: dict[str, Any] = dict.fromkeys(others)
        return replace(PROFILES[setting], **absent)
    given = {key for key in KEYS if getattr(setting, key) is not None}
    if wrong := next((key for key in others if key in given), None):
        kind = "audio in RTP packets has" if in_packets else "a WebSocket has"
        raise UsageError(f"must not have {wrong}: {kind} only {', '.join(needed)}")
    for key, other in needed.items():
        if key in given and other is not None and other not in given:
            raise UsageError(f"has {key}, which needs {other}")
    return setting
