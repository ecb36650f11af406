"""What the RTP streams of an agent are like, and what its owner can do to make them certain.
Pure.
"""

from dataclasses import dataclass

MIN_PER_CALL = 0.5
"""The mean number of restarts or pauses of a call from which they are what makes a stream
uncertain."""
MIN_JITTER_MS = 1.0
"""The jitter from which packets are irregular."""


@dataclass(frozen=True)
class RtpStreams:
    """The RTP streams of the calls of one target: means of each call, and the median of the
    calls' jitter.
    """

    restarts: float = 0.0
    pauses: float = 0.0
    jitter_ms: float = 0.0

    @property
    def property_text(self) -> str:
        """The property of the streams that makes the start of replies uncertain, with its
        effect.
        """
        if self.restarts >= MIN_PER_CALL:
            return (
                f"the agent's RTP stream began again {_rounded(self.restarts)} × in a call, and the"
                " first packets of a stream do not show how late they are"
            )
        if self.pauses >= MIN_PER_CALL:
            return (
                f"the agent's RTP packets stopped {_rounded(self.pauses)} × in a call for longer"
                " than their timestamps say, and each time their clock is unknown"
            )
        if self.jitter_ms >= MIN_JITTER_MS:
            return f"the agent's RTP packets are irregular (jitter {_rounded(self.jitter_ms)} ms)"
        return "the agent's first RTP packets do not show how late they are"

    @property
    def remedy(self) -> str:
        """What the owner of the agent can do."""
        if self.restarts >= MIN_PER_CALL:
            return (
                "let the agent keep one RTP stream for the whole call: one source (SSRC), sequence"
                " numbers and timestamps that continue, and packets of silence between replies"
            )
        if self.pauses >= MIN_PER_CALL:
            return (
                "let the agent's RTP timestamps count its pauses (RFC 3550 §5.1), or let it send"
                " packets of silence at the same rate as speech, by a clock and not after a sleep"
                " of 20 ms"
            )
        if self.jitter_ms >= MIN_JITTER_MS:
            return (
                "let the agent send its packets by a clock, one each 20 ms, or measure it nearer to"
                " its machine: the network adds jitter, too"
            )
        return "let the agent send packets of silence from its answer on"


def _rounded(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
