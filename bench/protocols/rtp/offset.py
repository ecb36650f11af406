"""The offset of a stream: the smallest difference between a packet's arrival and its media time.
Pure.
"""

# The offset is that of the fastest packets: the minimum, over the last `WINDOW_BLOCKS` blocks of
# `BLOCK_PACKETS` packets, of (arrival − media time). To follow the drift between the clocks of
# sender and receiver, each earlier value grows by `MAX_DRIFT_PPM` of the time since its packet. The
# offset is therefore an upper bound if the clocks differ by no more than that: the fastest possible
# packet would not have arrived later. So the instant of a frame, which is its media time plus the
# offset, is the latest possible one.
#
# One packet that was faster than all others does not decide for long: it leaves the window after 4
# s. If all packets of a block are later than jitter explains, the earlier blocks are forgotten at
# once. WebRTC's NetEq compares packets with the fastest one of the last 2 s, for the same reason.
#
# Some senders read their audio in blocks, and send the packets of a block at once (`ffmpeg -re` of
# a WAV). The first packet of such a burst shows the clock. The packets that arrive together with
# it, and would be faster than all before them, were sent ahead of their clock. They show only how
# much slower they were than the packet before them. Therefore they neither change the offset, nor
# is a part of the jitter how late the first packet of a burst is. If later packets, at the rate of
# real time, are as fast as the last one of the burst, its first one was late: then these change the
# offset.
#
# The jitter is twice the mean decrease of (arrival − media time) from one packet to the next: the
# mean absolute difference, if the delays have no trend. So neither a wrong offset nor a delay that
# increases is a part of it. The mean delay is that of the packets of a block behind the second
# fastest one of the same block, and at most `MAX_DELAYS_OF_JITTER` times the jitter of the block:
# more than that is an increase.
#
# The uncertainty is the `CONFIDENCE` quantile of the delay of the fastest packet behind the fastest
# possible packet. It follows from the number of packets, their mean delay m behind the offset, and
# the growth of their values. One assumption is necessary: a share of at least x / 4m of all packets
# has a delay of at most x. It is true, with a factor of 2, if shorter delays are more frequent than
# longer ones. Before the delays of a stream are known, a mean delay of `ASSUMED_DELAY_NS` is
# assumed, with the weight of `ASSUMED_PACKETS` packets. A later stream of the same path has the
# jitter of the earlier ones.
#
# A standstill is a time in which no packet arrived, and after which packets are later than jitter
# explains. Either the path stood still, and then delivers the delayed packets faster than real
# time, until they are in time again. Or the sender stopped, and its timestamps do not count that
# time. Then its packets stay late, and have another offset. An increase of the path's delay in one
# step cannot be distinguished from that, and has another offset, too.

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.wire.connection import ASSUMED_START_NS

MAX_DRIFT_PPM = 200
"""The largest difference between the rates of two clocks that the buffer follows. Quartz clocks
differ by up to 100."""
CONFIDENCE = 0.999
EXPLAINED_CONFIDENCE = 0.9999
"""The share of the packets of a path with exponential delays whose delay its jitter explains."""
ASSUMED_DELAY_NS = ASSUMED_START_NS // 2
ASSUMED_PACKETS = 8
START_PACKETS = 200
MIN_START_PACKETS = 50
"""The number of packets that bound the offset of the first one, and the minimum that reduces the
assumed bound."""
BLOCK_PACKETS = 16
WINDOW_BLOCKS = 12
"""The number of packets of a block, and of the earlier blocks whose fastest packets decide: 4 s
of audio."""
WINDOW_PACKETS = BLOCK_PACKETS * (WINDOW_BLOCKS + 1)
MAX_DELAYS_OF_JITTER = 8
"""The largest mean delay, in units of the jitter. It is 1 to 1.5 for independent delays, and
higher for bursts."""
MIN_LONGEST_PACKETS = 3 * BLOCK_PACKETS
"""The number of packets from which the longest of their delays bounds the next one."""
MAX_DELAY_PACKETS = 256
"""The number of packets over which the mean delay is averaged: 5 s of audio."""
RESYNC_NS = NS_PER_S
MIN_STEP_NS = 3 * NS_PER_MS
"""The smallest increase of the delay that is another offset before a block shows it, if the path
has no jitter."""
SLOWER_PACKETS = 4, 16
"""The numbers of packets by which an increase is found that is smaller than the jitter of one
packet."""
MIN_BURST_SPEED = 8
"""How much faster than real time the packets of a burst arrive."""
SMOOTHED_NS = 20 * NS_PER_MS
"""The delay from which a player must smooth the jitter that explains it: the packet that each
player holds."""
MIN_JITTER_PACKETS = 8
"""The number of packets from which their jitter can show that no player must smooth it."""
MAX_EARLY_NS = 60 * NS_PER_MS
"""The longest time by which a packet may have been played before its arrival: the delay of a
telephone's buffer."""
_NS_PER_DRIFT_NS = 1_000_000 // MAX_DRIFT_PPM
_LOG_DOUBT = -math.log(1 - CONFIDENCE)
_LOG_UNEXPLAINED = -math.log(1 - EXPLAINED_CONFIDENCE)


class BlockMinimum(NamedTuple):
    """The fastest packet of a block: the latest and the earliest value of its offset at the
    media time 0.
    """

    latest_ns: int
    earliest_ns: int


class OffsetEstimate:
    """The estimate of the smallest difference between a packet's arrival and its media time. All
    values are in ns.
    """

    __slots__ = (
        "_ahead_ns",
        "_assumed_ns",
        "_block_error_ns",
        "_blocks",
        "_burst_ns",
        "_earliest_ns",
        "_early_ns",
        "_excess_ns",
        "_first_ns",
        "_jitter_ns",
        "_jitter_packets",
        "_known_delay_ns",
        "_known_packets",
        "_longest_ns",
        "_mean_delay_ns",
        "_offsets_ns",
        "_packets",
        "_start_media_ns",
        "_start_ns",
        "_start_packets",
        "_start_uncertainty_ns",
        "explained_ns",
        "has_smoothed",
        "latest_ns",
        "media_ns",
        "plays_on_arrival",
        "usual_ns",
    )

    def __init__(self, media_ns: int, arrival: Arrival) -> None:
        self.latest_ns = arrival.at_ns - media_ns
        """The upper bound of the offset, at the media time of the last packet."""
        self._earliest_ns = self.latest_ns - arrival.uncertainty_ns
        self.media_ns = media_ns
        """The latest media time of a packet."""
        self._first_ns = media_ns
        self._packets = 0
        """The number of packets that may decide, since the media time `_first_ns`."""
        self._mean_delay_ns = float(ASSUMED_DELAY_NS)
        """The mean delay behind the offset, with the assumed one."""
        self._known_delay_ns = 0.0
        self._jitter_ns = 0.0
        self._longest_ns = 0.0
        """The longest delay of the last blocks. It falls by a block's share of the window with
        each block."""
        self._known_packets = 0
        self._jitter_packets = 0
        """The numbers of packets from which the mean delay and the jitter are known."""
        self._ahead_ns = 0
        """How far the last packet was sent ahead of its clock."""
        self.explained_ns = 0
        """The longest delay behind the offset that jitter explains which a player must smooth; 0
        if there is none."""
        self.plays_on_arrival = False
        """True if the jitter of the path is known, and no player must smooth it.

        As in `restarted`, the delay that few packets explain is that of the predictive
        distribution.
        """
        self.has_smoothed = False
        """True if a player had to smooth the jitter of the path, now or earlier."""
        self.usual_ns = 0
        """The longest delay behind the offset that is no sign of another offset."""
        self._use_jitter()
        self._excess_ns = float(ASSUMED_START_NS)
        self._start_ns = self.latest_ns
        self._start_media_ns = media_ns
        self._start_packets = 0
        self._start_uncertainty_ns: int | None = None
        self._early_ns = 0
        """The part of the uncertainty that ends with the start of the stream."""
        self._assumed_ns: int | None = None
        """What `start_uncertainty_ns` is after a pause; None at the start of a source."""
        self._blocks: deque[BlockMinimum] = deque(maxlen=WINDOW_BLOCKS)
        self._begin_block(self.latest_ns)

    def _begin_block(self, last_ns: int) -> None:
        self._offsets_ns = [last_ns]
        """(arrival − media time) of the last packet before the current block, and of the packets
        of the block."""
        self._burst_ns = 0
        """The part of the jitter of the block by which the differences of its offsets are too
        small, due to bursts."""
        self._block_error_ns = 0
        """The largest uncertainty of an arrival in the block."""

    def _use_jitter(self) -> None:
        self.usual_ns = MIN_STEP_NS + self.least_delay_ns(SLOWER_PACKETS[-1])
        packets = min(self._jitter_packets, MAX_DELAY_PACKETS)
        explained_ns = int(_LOG_UNEXPLAINED * self._jitter_ns) if packets >= BLOCK_PACKETS else 0
        self.explained_ns = explained_ns if explained_ns >= SMOOTHED_NS else 0
        self.has_smoothed = self.has_smoothed or self.explained_ns > 0
        self.plays_on_arrival = (
            packets >= MIN_JITTER_PACKETS
            and self._jitter_ns * packets * math.expm1(_LOG_UNEXPLAINED / packets) < SMOOTHED_NS
        )

    @property
    def uncertainty_ns(self) -> int:
        return self.latest_ns - self._earliest_ns + int(self._excess_ns)

    @property
    def start_uncertainty_ns(self) -> int:
        """The uncertainty of the first frame, by the packets after it. If they are few, they can
        only increase it.
        """
        if self._assumed_ns is not None:
            return self._assumed_ns
        if self._start_uncertainty_ns is not None:
            return self._start_uncertainty_ns
        drift_ns = (self.media_ns - self._start_media_ns) // _NS_PER_DRIFT_NS
        bound_ns = max(0, self._start_ns - self.latest_ns) + self.uncertainty_ns + drift_ns
        return (
            bound_ns
            if self._start_packets >= MIN_START_PACKETS
            else max(ASSUMED_START_NS, bound_ns)
        )

    @property
    def knows_delays(self) -> bool:
        return self._known_packets > 0

    @property
    def is_settled(self) -> bool:
        """Return whether the offset is that of many packets, whose delays are known."""
        return self.knows_delays and self._packets >= BLOCK_PACKETS

    def least_delay_ns(self, packets: int) -> int:
        """Return the delay that all of some packets exceed with a probability of at most 1 −
        `CONFIDENCE`.

        If the delays of n packets with the mean m are exponential, all exceed x with the
        probability exp(−nx / m). By the assumption of this module, they do so with at most (1 − x /
        4m)ⁿ. The result is the larger quantile.
        """
        return int(self._mean_delay_ns * _least_delay(packets))

    def delay_ns(self, media_ns: int, at_ns: int) -> int:
        """Return the delay of a packet behind the offset at its media time."""
        return (
            at_ns - media_ns - self.latest_ns - max(0, media_ns - self.media_ns) // _NS_PER_DRIFT_NS
        )

    def _on_same_path(self, media_ns: int, arrival: Arrival) -> OffsetEstimate:
        """Return another offset, from one packet, with the same jitter, which the packets of an
        open block show, too.

        The difference to the last one of them is that of the offsets.
        """
        if len(self._offsets_ns) > BLOCK_PACKETS:
            self._end_block()
        estimate = OffsetEstimate(media_ns, arrival)
        estimate._mean_delay_ns = self._mean_delay_ns
        estimate._known_delay_ns = self._known_delay_ns
        estimate._known_packets = self._known_packets
        estimate._jitter_ns = self._jitter_ns
        estimate._jitter_packets = self._jitter_packets
        estimate._longest_ns = self._longest_ns
        estimate.has_smoothed = self.has_smoothed
        if (packets := len(self._offsets_ns) - 1) and not self._is_alone:
            estimate._learn_jitter(self._block_jitter_ns(), packets)
        estimate._use_jitter()
        return estimate

    @property
    def _is_alone(self) -> bool:
        """Return whether no other packet has this offset. It then shows no jitter."""
        return self._start_packets <= 1 and self._start_uncertainty_ns is None

    def restarted(self, media_ns: int, arrival: Arrival, frame_ns: int = 0) -> OffsetEstimate:
        """Return the offset of another stream of the same path, from its first packet.

        If timestamps stand still, each packet is such a stream, of `frame_ns`. Their clock is
        unknown. Then how much sooner than after a frame each one arrives is the jitter.

        If the delays of n earlier packets with the sum s were exponential, the delay of the next
        one exceeds x with the probability (1 + x / s)⁻ⁿ (the predictive distribution, without an
        assumption about the mean). It exceeds twice the longest one with about 2 / n²: at most 0.1
        % from three blocks on.
        """
        estimate = self._on_same_path(media_ns, arrival)
        if packets := min(self._known_packets, MAX_DELAY_PACKETS):
            estimate._excess_ns = packets * self._known_delay_ns * math.expm1(_LOG_DOUBT / packets)
            if packets >= MIN_LONGEST_PACKETS:
                estimate._excess_ns = min(estimate._excess_ns, 2 * self._longest_ns)
        since_ns = arrival.at_ns - self.media_ns - self._offsets_ns[-1]
        if self._is_alone and frame_ns and since_ns < RESYNC_NS:
            estimate._learn_jitter(2 * max(0, frame_ns - since_ns), 1)
            estimate._use_jitter()
            estimate._excess_ns = max(estimate._excess_ns, _LOG_DOUBT * estimate._jitter_ns)
        return estimate

    def shifted(self, packets: Sequence[tuple[int, Arrival]], early_ns: int = 0) -> OffsetEstimate:
        """Return another offset, from the media times and the arrivals of some packets, with the
        same jitter.

        In the first 4 s, the offset may be lower by `early_ns`: the packets were only delayed, and
        will be in time again.
        """
        estimate = self._on_same_path(*packets[0])
        estimate._excess_ns = float(estimate.least_delay_ns(len(packets)))
        for packet in packets:
            estimate.add(*packet)
        if early_ns:
            # this offset may be too late, too; but no packet has come back to the one before it
            early_ns += self.latest_ns - self._earliest_ns - self._early_ns
            estimate._early_ns = min(early_ns, MAX_EARLY_NS)
            estimate._earliest_ns -= estimate._early_ns
        # frames that are less certain than at the start of a call keep their uncertainty
        estimate._assumed_ns = (
            ASSUMED_START_NS if estimate.uncertainty_ns >= ASSUMED_START_NS else 0
        )
        return estimate

    def add(self, media_ns: int, arrival: Arrival) -> None:
        """Add a packet. Its media time may be earlier than that of the packet before it."""
        if len(self._offsets_ns) > BLOCK_PACKETS:
            self._end_block()
        at_ns, arrival_uncertainty_ns, _ = arrival
        offset_ns = at_ns - media_ns
        if offset_ns < self.latest_ns - MIN_STEP_NS or self._ahead_ns:
            offset_ns = self._offset_in_burst(media_ns, at_ns)
            media_ns = at_ns - offset_ns
        earliest_ns = offset_ns - arrival_uncertainty_ns
        passed_ns = media_ns - self.media_ns
        if self._start_uncertainty_ns is None:
            enough = MIN_START_PACKETS if passed_ns >= RESYNC_NS else START_PACKETS
            if self._start_packets >= enough:
                self._start_uncertainty_ns = self.start_uncertainty_ns
                self._earliest_ns = min(self._earliest_ns + self._early_ns, self.latest_ns)
                self._early_ns = 0
            self._start_packets += 1
        if passed_ns > 0:
            self.media_ns = media_ns
            drift_ns = passed_ns // _NS_PER_DRIFT_NS
            self.latest_ns += drift_ns
            self._earliest_ns += drift_ns
            self._excess_ns += 2 * drift_ns
            # earlier packets say little about the offset after a long silence
            if passed_ns >= RESYNC_NS:
                self._packets = 0
                self._first_ns = media_ns
                self._begin_block(self._offsets_ns[-1])
        if offset_ns < self.latest_ns:
            self.latest_ns = offset_ns
        if earliest_ns < self._earliest_ns:
            self._earliest_ns = earliest_ns
        self._offsets_ns.append(offset_ns)
        if arrival_uncertainty_ns > self._block_error_ns:
            self._block_error_ns = arrival_uncertainty_ns
        self._packets = packets = self._packets + 1
        # The value of a packet is too late by its delay, and by up to twice the followed drift
        # since the packet. For n packets with a followed drift d over all of them, the quantile of
        # the smallest value is log · 4m / n + d. If n is large, the quantile of the last packets
        # alone is smaller. Before the jitter is known, the mean delay m is relative to a value that
        # is itself too late, on average by a quarter of its quantile.
        drift_ns = (self.media_ns - self._first_ns) // _NS_PER_DRIFT_NS
        if packets > WINDOW_PACKETS:
            drift_ns = drift_ns * WINDOW_PACKETS // packets
            packets = WINDOW_PACKETS
        spread_ns = _LOG_DOUBT * (4 * self._mean_delay_ns + self._excess_ns)
        if packets * drift_ns > spread_ns:
            excess_ns = 2 * math.sqrt(spread_ns * drift_ns / packets)
        else:
            excess_ns = spread_ns / packets + drift_ns
        if excess_ns < self._excess_ns:
            self._excess_ns = excess_ns

    def _offset_in_burst(self, media_ns: int, at_ns: int) -> int:
        """Return the offset that a packet shows which is faster than all others, or follows such a
        packet.

        If it arrives together with the packet before it, it was sent ahead of its clock, and shows
        only how much slower it was than that packet.
        """
        last_ns = self._offsets_ns[-1]
        since_ns = max(0, at_ns - last_ns - self.media_ns)
        since_media_ns = media_ns - self.media_ns - self._ahead_ns
        was_ahead = self._ahead_ns > 0
        self._ahead_ns = 0
        offset_ns = at_ns - media_ns
        if offset_ns < self.latest_ns - MIN_STEP_NS and since_ns * MIN_BURST_SPEED < since_media_ns:
            self._ahead_ns = media_ns - self.media_ns
            self._burst_ns += since_ns
            return last_ns + since_ns
        if was_ahead:  # how late the burst was is no jitter of the path
            self._burst_ns -= max(0, last_ns - offset_ns)
        return offset_ns

    def _block_jitter_ns(self) -> float:
        """Return the jitter that the packets of the current block show."""
        decrease_ns = self._burst_ns
        for before_ns, offset_ns in pairwise(self._offsets_ns):
            if offset_ns < before_ns:
                decrease_ns += before_ns - offset_ns
        return 2 * decrease_ns / (len(self._offsets_ns) - 1)

    def _learn_jitter(self, jitter_ns: float, packets: int) -> None:
        self._jitter_packets += packets
        self._jitter_ns += (
            (jitter_ns - self._jitter_ns) * packets / min(self._jitter_packets, MAX_DELAY_PACKETS)
        )

    def _end_block(self) -> None:
        """Learn the jitter from the packets of a block, and forget the offsets of packets that
        no longer decide.
        """
        offsets_ns = self._offsets_ns
        jitter_ns = self._block_jitter_ns()
        last_ns = offsets_ns[-1]
        offsets_ns = sorted(offsets_ns[1:])
        low_ns, second_ns = offsets_ns[:2]
        others = BLOCK_PACKETS - 1
        delay_ns = (sum(offsets_ns) - low_ns - others * second_ns) / (others - 1)
        delay_ns = min(delay_ns, MAX_DELAYS_OF_JITTER * jitter_ns)
        fading_ns = self._longest_ns * (1 - 1 / WINDOW_BLOCKS)
        self._longest_ns = max(fading_ns, float(offsets_ns[-1] - low_ns))
        self._known_packets += BLOCK_PACKETS
        weight = BLOCK_PACKETS / min(self._known_packets, MAX_DELAY_PACKETS)
        self._learn_jitter(jitter_ns, BLOCK_PACKETS)
        self._known_delay_ns += (delay_ns - self._known_delay_ns) * weight
        weight = BLOCK_PACKETS / min(self._known_packets + ASSUMED_PACKETS, MAX_DELAY_PACKETS)
        self._mean_delay_ns += (delay_ns - self._mean_delay_ns) * weight
        self._use_jitter()
        if low_ns - self.latest_ns > self._known_delay_ns * _least_delay(BLOCK_PACKETS):
            self._blocks.clear()
            self._packets = BLOCK_PACKETS
            self._first_ns = self.media_ns
        growth_ns = self.media_ns // _NS_PER_DRIFT_NS
        self._blocks.append(
            BlockMinimum(low_ns - growth_ns, low_ns - self._block_error_ns - growth_ns)
        )
        self._begin_block(last_ns)
        latest_ns = min(self._blocks).latest_ns + growth_ns
        if latest_ns > self.latest_ns:
            self._excess_ns += latest_ns - self.latest_ns
            self.latest_ns = latest_ns
            if not self._early_ns:
                earliest_ns = min(block.earliest_ns for block in self._blocks) + growth_ns
                self._earliest_ns = min(earliest_ns, latest_ns)


class Standstill:
    """The packets after a standstill, of which it is not known whether the path stood still, or the
    sender.

    The path did if a packet is late by at most half of `limit_ns`, or by half of what the first one
    is late and at most half of `window_ns`. The sender did if no packet has caught up by more than
    half of `window_ns` within `window_ns`.
    """

    def __init__(
        self, late_ns: int, limit_ns: int, starts_talk: bool, at_ns: int, window_ns: int
    ) -> None:
        self.late_ns = late_ns
        """The lateness of the first packet."""
        self.starts_talk = starts_talk
        """True if the first packet has the marker, or if silence before it was not sent."""
        self.packets: dict[int, tuple[int, Arrival]] = {}
        """The media times and the arrivals of the packets, by sequence number, in the order of
        arrival."""
        self.has_caught_up = False
        self.until_ns = at_ns + window_ns
        """The instant at which the decision is due, if no further packet arrives."""
        self._limit_ns = limit_ns
        self._window_ns = window_ns
        self.least_ns = self._compared_ns = late_ns
        """The smallest lateness of a packet."""

    @property
    def is_burst(self) -> bool:
        """True if packets arrived faster than real time, by more than jitter explains."""
        return self.late_ns - self.least_ns > self._limit_ns

    @property
    def is_ahead(self) -> bool:
        """True if packets were faster than the offset: their sender sends several at once, and
        the path held none.
        """
        return self.least_ns < -MIN_STEP_NS

    @property
    def lasting(self) -> dict[int, tuple[int, Arrival]]:
        """The packets without those that are earlier than the last one, by more than jitter
        explains.
        """
        last_media_ns, last = next(reversed(self.packets.values()))
        least_ns = last.at_ns - last_media_ns - self._limit_ns
        return {
            n: (media_ns, at)
            for n, (media_ns, at) in self.packets.items()
            if at.at_ns - media_ns >= least_ns
        }

    def add(self, sequence: int, media_ns: int, arrival: Arrival, late_ns: int) -> None:
        self.packets[sequence] = media_ns, arrival
        self.least_ns = min(self.least_ns, late_ns)
        self.has_caught_up |= (
            late_ns <= max(self._limit_ns, min(self.late_ns, self._window_ns)) // 2
        )

    def is_decided(self, before_ns: int) -> bool:
        """Return whether the decision is due before an instant. All packets that arrived by then
        were added.
        """
        if self.has_caught_up:
            return True
        while self.until_ns < before_ns:
            if self._compared_ns - self.least_ns <= self._window_ns // 2:
                return True
            self._compared_ns = self.least_ns
            self.until_ns = self.until_ns + self._window_ns
        return False


class DelayIncrease:
    """The last packets of a path whose delay may have increased, by less than the jitter of one
    packet.
    """

    def __init__(self, offset: OffsetEstimate) -> None:
        self._least_ns = [MIN_STEP_NS + offset.least_delay_ns(count) for count in SLOWER_PACKETS]
        """The lateness that not all of the last packets exceed, for each of `SLOWER_PACKETS`,
        before the increase."""
        self.usual_ns = self._least_ns[-1]
        """The lateness of a packet that shows that the delay has not increased."""
        self._late: deque[tuple[int, int, Arrival]] = deque(maxlen=SLOWER_PACKETS[-1])
        """The lateness, the media time and the arrival of each packet."""

    def add(self, late_ns: int, media_ns: int, arrival: Arrival) -> list[tuple[int, Arrival]]:
        """Add a packet. Return the last packets if all are later than jitter explains; none if
        they are too few.
        """
        self._late.append((late_ns, media_ns, arrival))
        for count, least_ns in zip(SLOWER_PACKETS, self._least_ns, strict=True):
            if len(self._late) >= count and late_ns > least_ns:
                last = list(self._late)[-count:]
                if min(last)[0] > least_ns:
                    return [(media_ns, arrival) for _, media_ns, arrival in last]
        return []


@cache
def _least_delay(packets: int) -> float:
    """Return `OffsetEstimate.least_delay_ns` for a mean delay of 1."""
    share = _LOG_DOUBT / packets
    return max(share, -4 * math.expm1(-share))
