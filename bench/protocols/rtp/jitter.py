"""The jitter buffer: the frames of a stream in order, each with the instant at which a player plays
it. Pure.
"""

# A frame's instant is its media time plus an offset (`bench.protocols.rtp.offset`). The media
# time comes from the RTP timestamps. The instant is the latest possible one. It may really be
# earlier, by up to the uncertainty of the frame.
#
# A packet is played when it arrives, because no player plays what has not arrived. Then the
# uncertainty of its frame is that of its arrival. If a player must smooth the jitter
# (`SMOOTHED_NS`), a packet is played when its clock says, because the player's buffer waits for it,
# unless it is later than jitter explains: its stream may have another clock since then, and the
# uncertainty reaches back to the earlier one. So it does before the jitter of a path is known,
# which then explains nothing. If packets in the middle of talk catch up after a standstill, or if
# later packets overtake one, the path delayed them, and they keep their clock. No frame has an
# instant after the arrival of its packet, also if it was sent ahead of its clock.
#
# The errors were measured with frames of 20 ms, 1 % loss, and clocks that differ by 0 or ±200 ppm
# (tests/transport/media/test_jitter_accuracy.py). With delays from 0 to 20 ms, an instant is at
# most 20 ms too late at the start of a stream, and at most 2.5 ms after 4 s. With delays from 0 to
# 0.1 ms, it is the arrival. An instant is at most 0.02 % of `hold_ns` too early.
#
# The packets of the first 4 s bound the offset of the first frame better than any assumption.
# Therefore the buffer later states `start_uncertainty_ns`, which replaces an uncertainty of
# `ASSUMED_START_NS`. After few packets, it is at least as large. If no player had to smooth the
# jitter (`starts_on_arrival`), it is that of the arrivals.
#
# The instants do not contain the delay of the player's buffer (`hold_ns`). A packet that arrives
# after its instant plus this delay is late, and its frame is concealed. A frame whose packet has
# not arrived by then is lost, and is concealed, too. A concealed frame is silence, so that all
# detected sound was really received. If the packet after a lost one has its audio, too (in-band
# FEC), the frame has this audio. If a packet is next in order, its frame is released at once. If
# earlier packets are missing, it waits until these arrive or are due. If packets of more than
# `RESYNC_NS` are missing, or more than `MAX_CONCEALED_FRAMES`, or the packet after them has no
# audio, they are counted as lost without concealed frames.
#
# A sender may stop sending during silence (DTX): the timestamp jumps, and the sequence number does
# not. If the silence is at most `MAX_FILLED_NS` long, frames of silence fill it, or
# `MAX_ANNOUNCED_NS` if the last packet before it was comfort noise (RFC 3389), or one of Opus
# without sound. After a longer silence, the instant of the next frame jumps. A timestamp that
# differs from the end of the frame before it by less than a frame comes from a clock, or was
# rounded.
#
# If packets are late after a standstill, they wait until it is known whether the path stood still,
# or the sender. If it was the sender, all later instants have another offset. If it was the path,
# late packets stay late. The buffer also takes another offset if the last packets are all later
# than jitter explains, although in time.
#
# An agent that sends single packets while it is silent may be late with one of them. Its pause is
# therefore open until a later packet shows which clock is right: it is in time by the earlier one,
# which then continues, or it follows soon, and is as late.
#
# The buffer synchronizes again, and takes the offset from the next packet alone, after a new
# source, after a timestamp that is earlier than the end of the previous frame by a frame or more,
# and after a packet that is faster than the offset by `RESYNC_NS`. If all packets have been late
# for `RESYNC_NS`, it takes the minimum of these packets.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.rtp.offset import (
    MIN_STEP_NS,
    RESYNC_NS,
    DelayIncrease,
    OffsetEstimate,
    Standstill,
)
from bench.protocols.rtp.rtp import TIMESTAMPS, Codec, ReceivedPacket
from bench.wire.audio import AudioFormat
from bench.wire.connection import ASSUMED_START_NS

MAX_FILLED_NS = 200 * NS_PER_MS
"""The longest silence that is filled. A playout queue takes a shorter gap for a delay on the
network (`bench.observe.reply_detector.GAP_NS`)."""
MAX_ANNOUNCED_NS = 2 * NS_PER_S
"""The longest silence that is filled if its sender announces it, so that the pause is no stall."""
MAX_CONCEALED_FRAMES = 200
"""The largest number of missing frames that are concealed: `RESYNC_NS` of frames of 5 ms.

A packet may follow 3,000 missing ones (`reception.MAX_DROPOUT`). Without this limit, a packet of
one byte that follows them would make 3,000 frames.
"""
MAX_WAITING = 64
"""The maximum number of packets that wait for an earlier packet."""
MAX_STANDSTILL_PACKETS = 500
"""The maximum number of packets that wait for the decision after a standstill: 10 s of audio."""
_HALF_TIMESTAMP = TIMESTAMPS // 2


class Frame(NamedTuple):
    """A piece of the stream. `at_ns` is the latest possible instant at which it is played, without
    the buffer's delay.

    The real instant may be up to `uncertainty_ns` earlier. `payload_bytes` is the size of the audio
    before decoding. It is 0 if the packet of the frame was lost or late.
    """

    at_ns: int
    uncertainty_ns: int
    audio: bytes
    payload_bytes: int


@dataclass(slots=True)
class PlayedCounts:
    """The numbers of packets and frames.

    Every packet that was added is in exactly one of `played`, `late`, `without_audio`, and
    `bad_audio`, or still waits. Every sequence number of a source that was played is in exactly one
    of them, or in `lost`. `late` packets arrived after the end of their time in the buffer.
    """

    played: int = 0
    late: int = 0
    without_audio: int = 0
    bad_audio: int = 0
    """The packets whose payload is not valid, or contains no sample. They are treated like
    silence."""
    lost: int = 0
    recovered_frames: int = 0
    """The frames of lost packets whose audio was in the packets after them."""
    concealed_frames: int = 0
    concealed_ns: int = 0
    unsent_ns: int = 0
    """The duration of the silence that was not sent."""
    resyncs: int = 0
    uncounted_pauses: int = 0
    """The resyncs after pauses that the timestamps do not count."""


class OpenPauses(NamedTuple):
    """Pauses of which it is not known whether the timestamps count them, the last packet, and what
    the offset and `_ended_uncertainty_ns` were before them.
    """

    pauses: int
    offset: OffsetEstimate
    last_ns: int
    ended_uncertainty_ns: int


class JitterBuffer:
    """The jitter buffer of one stream, which holds a packet for at most `hold_ns` after its
    instant.

    `clock_hz` is the clock of its codecs, and `audio` the format of the released frames.

    `expire` must not be called with an instant before all packets that arrived by then have been
    added. Then the result depends only on the packets and their arrivals.
    """

    __slots__ = (
        "_ahead",
        "_announced",
        "_at_ns",
        "_clock_hz",
        "_codecs",
        "_delayed_until",
        "_end_ticks",
        "_ended_uncertainty_ns",
        "_first",
        "_first_error_ns",
        "_frame_ticks",
        "_has_wide",
        "_hold_ns",
        "_increase",
        "_is_marked",
        "_late_offset",
        "_late_since_ns",
        "_next",
        "_offset",
        "_open",
        "_rate_hz",
        "_silent_sample",
        "_source",
        "_standstill",
        "_ticks",
        "_timestamp",
        "_waiting",
        "counts",
    )

    def __init__(self, clock_hz: int, audio: AudioFormat, hold_ns: int) -> None:
        self.counts = PlayedCounts()
        self._codecs: dict[int, Codec] = {}
        self._clock_hz = clock_hz
        self._hold_ns = hold_ns
        self._rate_hz = audio.rate_hz
        self._silent_sample = audio.encode(np.zeros(1, np.int16))
        self._source = -1
        self._next = 0
        """The extended sequence number of the next frame."""
        self._first = 0
        """The lowest extended sequence number of a packet of the source."""
        self._ticks = self._timestamp = 0
        """The media time in ticks, and the timestamp, of the packet that was last added."""
        self._end_ticks = self._frame_ticks = 0
        """The end of the last frame, and its duration."""
        self._at_ns = 0
        self._announced = -1
        """The extended sequence number of the last packet that announces silence."""
        self._waiting: dict[int, tuple[int, ReceivedPacket]] = {}
        """The packets that wait for an earlier packet, with their media times in ticks."""
        self._offset = OffsetEstimate(0, Arrival(0))
        self._ended_uncertainty_ns = 0
        """The maximum `start_uncertainty_ns` of the earlier streams."""
        self._has_wide = False
        """True if a frame has an uncertainty of `ASSUMED_START_NS` or more that is not the assumed
        one.

        Such a packet was held, so that its frame was not played on arrival.
        """
        self._first_error_ns = 0
        """The maximum uncertainty of the arrivals before it was known whether a player must
        smooth the jitter."""
        self._late_offset: OffsetEstimate | None = None
        """The offset of the packets since the last packet that was in time; None if that was the
        last packet."""
        self._late_since_ns = 0
        self._is_marked = False
        """True if the last packet with audio had the marker."""
        self._delayed_until = -1
        """The sequence number up to which packets were late because of the path."""
        self._standstill: Standstill | None = None
        self._increase: DelayIncrease | None = None
        self._open: OpenPauses | None = None
        self._ahead: dict[int, tuple[int, Arrival]] = {}
        """The packets, by sequence number, that become part of the offset when they are
        released."""

    @property
    def start_uncertainty_ns(self) -> int:
        """The uncertainty of each frame that was released with `ASSUMED_START_NS`, by the packets
        after it.

        Each synchronization starts a stream. The value is the maximum of all streams.
        """
        if self.starts_on_arrival:
            return self._first_error_ns
        least_ns = ASSUMED_START_NS if self._has_wide else 0
        return max(least_ns, self._ended_uncertainty_ns, self._offset.start_uncertainty_ns)

    @property
    def starts_on_arrival(self) -> bool:
        """Whether the frames from before the jitter was known were played when their packets
        arrived.
        """
        offset = self._offset
        return offset.plays_on_arrival and not offset.has_smoothed and not self._has_wide

    @property
    def next_ns(self) -> int:
        """The instant at which `expire` releases a frame; `NEVER_NS` if no frame waits."""
        if self._standstill is not None:
            return self._standstill.until_ns + 1
        return self._due_ns() + 1 if self._waiting else NEVER_NS

    def accept(self, codecs: Mapping[int, Codec]) -> None:
        """Decode further payload types. Packets of the earlier ones may still wait.

        A payload type has the same codec for the whole call (RFC 3264 §8.3.2).
        """
        self._codecs |= codecs

    def change_clock(self, clock_hz: int) -> list[Frame]:
        """Begin a stream whose codecs have another clock. Return the frames that still wait."""
        frames: list[Frame] = []
        if clock_hz != self._clock_hz:
            self._release_before(NEVER_NS, frames)
            if self._source >= 0:
                self._end_stream()
            self._source = -1
            self._clock_hz = clock_hz
        return frames

    def add(self, packet: ReceivedPacket) -> list[Frame]:
        """Add a packet that the receiver returned, of any kind. Return the frames that are now
        released.
        """
        frames: list[Frame] = []
        kind, source, sequence, timestamp, _, arrival, _, _ = packet
        if source != self._source:
            self._release_before(NEVER_NS, frames)
            if self._source >= 0:
                self._end_stream()
            self._source = source
            self._next = sequence
            self._first = sequence
            self._ticks = self._end_ticks = 0
            self._timestamp, self._offset = timestamp, self._offset.restarted(0, arrival)
            self._is_marked, self._open = False, None
        elif self._waiting:
            self._release_before(arrival.at_ns, frames)
        ticks = self._ticks
        before_ns = arrival.at_ns
        is_behind = sequence < self._next
        if kind == "audio":  # the timestamps of other packets may have another clock
            ticks += (
                (timestamp - self._timestamp + _HALF_TIMESTAMP) & 0xFFFFFFFF
            ) - _HALF_TIMESTAMP
            self._ticks = ticks
            self._timestamp = timestamp
            if self._open is not None and not is_behind:
                self._decide_pauses(self._open, self._media_ns(ticks), arrival)
            if is_behind:
                self._count_late(ticks, arrival)
            elif self._is_continuous(ticks, arrival):
                media_ns = self._media_ns(ticks)
                late_ns = self._offset.delay_ns(media_ns, arrival.at_ns)
                if media_ns < self._offset.media_ns:  # another packet has overtaken it
                    self._delayed_until = max(self._delayed_until, sequence)
                if (
                    late_ns > self._offset.usual_ns
                    or self._standstill is not None
                    or self._increase is not None
                ):
                    self._add_late(late_ns, packet, media_ns)
                else:
                    self._offset.add(media_ns, arrival)
            else:
                before_ns = NEVER_NS
            self._is_marked = packet.marker
        elif is_behind:
            self.counts.without_audio += 1
        if is_behind:
            self._count_behind(sequence)
        elif sequence == self._next and not self._waiting and self._standstill is None:
            self._next += 1
            self._play(ticks, packet, frames)
        else:
            self._waiting[sequence] = ticks, packet
            self._release_before(before_ns, frames)
        return frames

    def expire(self, now_ns: int) -> list[Frame]:
        """Return the frames that are released because earlier packets have not arrived by
        `now_ns`.
        """
        frames: list[Frame] = []
        self._release_before(now_ns, frames)
        return frames

    def _release_before(self, before_ns: int, frames: list[Frame]) -> None:
        """Release the frames in order, and those that wait for packets which were due before an
        instant.
        """
        waiting = self._waiting
        decided_ns = before_ns if len(waiting) <= MAX_STANDSTILL_PACKETS else NEVER_NS
        if self._standstill is not None and not self._ends_standstill(decided_ns):
            return
        while waiting:
            if (held := waiting.pop(self._next, None)) is not None:
                if self._ahead and (ahead := self._ahead.pop(self._next, None)) is not None:
                    self._offset.add(*ahead)
                self._next += 1
                self._play(*held, frames)
            elif self._due_ns() < before_ns or len(waiting) > MAX_WAITING:
                self._pass_missing(frames)
            else:
                return

    def _add_late(self, late_ns: int, packet: ReceivedPacket, media_ns: int) -> None:
        """Add a packet that is later than usual, or that follows such a packet."""
        arrival = packet.arrival
        offset = self._offset
        if self._standstill is None:
            if late_ns <= (offset.usual_ns if self._increase is None else self._increase.usual_ns):
                self._increase = None
                offset.add(media_ns, arrival)
                return
            limit_ns = min(self._hold_ns, MIN_STEP_NS + offset.least_delay_ns(1))
            if late_ns <= limit_ns or media_ns < offset.media_ns:
                if self._increase is None and offset.knows_delays:
                    self._increase = DelayIncrease(offset)
                offset.add(media_ns, arrival)
                if self._increase is not None and (
                    packets := self._increase.add(late_ns, media_ns, arrival)
                ):
                    self._shift(packets, has_caught_up=False)
                    self._count_pauses(1)
                return
            # a sender that marks each packet says nothing about talk (RFC 3551 §4.1)
            begins = packet.marker and not self._is_marked
            starts_talk = begins or media_ns - self._media_ns(self._end_ticks) > MAX_FILLED_NS
            self._standstill = Standstill(
                late_ns, limit_ns, starts_talk, arrival.at_ns, self._hold_ns
            )
        self._standstill.add(packet.sequence, media_ns, arrival, late_ns)

    def _ends_standstill(self, before_ns: int) -> bool:
        """Decide which offset the packets after a standstill have. Return False if that is not due
        before an instant.

        If the path stood still, the packets keep the offset. If the sender did, they have another
        one, unless the jitter of the path explains how late they are. At the start of talk it may
        have been the sender also if the last packets are in time: it then sends the first ones at
        once.
        """
        still = self._standstill
        assert still is not None, "only called after a standstill"
        if not still.is_decided(before_ns):
            return False
        self._standstill = self._increase = None
        packets = list(still.packets.values())
        # in the middle of talk, a few packets may all be late only because of the path's jitter
        explained_ns = (
            MIN_STEP_NS + self._offset.least_delay_ns(len(packets))
            if self._offset.knows_delays
            else 0
        )
        is_jitter = not still.starts_talk and still.least_ns <= explained_ns
        if is_jitter or (still.has_caught_up and not (still.starts_talk and still.is_burst)):
            if self._offset.is_settled and not still.starts_talk and not still.is_ahead:
                self._delayed_until = max(self._delayed_until, *still.packets)
            for each in packets:
                self._offset.add(*each)
            return True
        opened = self._open
        if not still.has_caught_up:
            before = opened or OpenPauses(0, self._offset, 0, self._ended_uncertainty_ns)
            last_ns = packets[-1][1].at_ns
            opened = before._replace(pauses=before.pauses + 1, last_ns=last_ns)
        if still.is_burst:
            packets = packets[:1]
            self._ahead = still.lasting
        self._shift(packets, has_caught_up=still.has_caught_up)
        self._open = opened
        return True

    def _decide_pauses(self, unknown: OpenPauses, media_ns: int, arrival: Arrival) -> None:
        """Decide with a packet whether the timestamps count the open pauses, if it shows that.

        It does not if it is late, too, but alone: single packets may all be late by chance.
        """
        if unknown.offset.delay_ns(media_ns, arrival.at_ns) <= unknown.offset.usual_ns:
            self._offset, self._open = unknown.offset, None
            self._ended_uncertainty_ns = unknown.ended_uncertainty_ns
        elif arrival.at_ns - unknown.last_ns <= MAX_FILLED_NS:
            self._open = None
            self._count_pauses(unknown.pauses)
        else:
            self._open = unknown._replace(last_ns=arrival.at_ns)

    def _count_pauses(self, count: int) -> None:
        self.counts.uncounted_pauses += count
        self.counts.resyncs += count

    def _shift(self, packets: Sequence[tuple[int, Arrival]], *, has_caught_up: bool) -> None:
        """Take another offset, with the same delays. `has_caught_up` is True if later packets have
        the old offset.

        If the packets would still be in time, they may only be delayed: the sender is slow for some
        time.
        """
        self._late_offset = None
        late_ns = min(
            self._offset.delay_ns(media_ns, arrival.at_ns) for media_ns, arrival in packets
        )
        may_be_early = late_ns <= self._hold_ns or has_caught_up
        self._end_stream(resyncs=0)
        self._offset = self._offset.shifted(packets, late_ns if may_be_early else 0)

    def _missing(self) -> tuple[int, int, int]:
        """Return the number of missing packets before the first one that waits, and their start and
        end in ticks.

        They are as long as the last frame, and end where the first waiting one starts. They may
        carry no audio, so there may be less time between the two frames. Before a packet without
        audio, they take no time.
        """
        first = min(self._waiting)
        ticks, packet = self._waiting[first]
        count = first - self._next
        end = ticks if packet.kind == "audio" else self._end_ticks
        return count, max(self._end_ticks, end - count * self._frame_ticks), end

    def _due_ns(self) -> int:
        return self._offset.latest_ns + self._media_ns(self._missing()[1]) + self._hold_ns

    def _pass_missing(self, frames: list[Frame]) -> None:
        """Conceal the next missing frame.

        If the connection was interrupted for a long time, or the first waiting packet has another
        media time, pass all missing frames without frames of silence.
        """
        count, start, end = self._missing()
        duration = count * self._frame_ticks
        _, first = self._waiting[self._next + count]
        is_long = self._media_ns(duration) > RESYNC_NS or count > MAX_CONCEALED_FRAMES
        if is_long or not self._is_continuous(end, first.arrival):
            self.counts.lost += count
            self._next += count
            self._end_ticks = max(self._end_ticks, min(end, self._end_ticks + duration))
            return
        self.counts.lost += 1
        self._next += 1
        if end > start:
            self._fill(start, first.arrival, frames)
            self._replace(
                start, min(self._frame_ticks, end - start), first, frames, is_next=count == 1
            )

    def _replace(
        self,
        ticks: int,
        duration: int,
        following: ReceivedPacket,
        frames: list[Frame],
        *,
        is_next: bool,
    ) -> None:
        """Release the frame of a lost packet, from the packet after it if that has its audio,
        else concealed.
        """
        audio = None
        if is_next and following.kind == "audio":
            recover = self._codecs[following.payload_type].recover
            audio = None if recover is None else recover(following.payload, duration)
        if audio is None:
            self._conceal(ticks, duration, following.arrival, frames)
            return
        frames.append(self._frame(self._media_ns(ticks), audio, 0, following.arrival))
        self.counts.recovered_frames += 1
        self._end_ticks = ticks + duration

    def _play(self, ticks: int, packet: ReceivedPacket, frames: list[Frame]) -> None:
        """Release the frame of a packet, or a concealed frame if the packet is late."""
        counts = self.counts
        kind, _, sequence, _, payload, arrival, _, payload_type = packet
        if kind != "audio":
            counts.without_audio += 1
            if kind == "comfort_noise":
                self._announced = sequence
            return
        codec = self._codecs[payload_type]
        duration = codec.ticks(payload)
        if not duration:
            counts.bad_audio += 1
            return
        media_ns = self._media_ns(ticks)
        if not self._is_continuous(ticks, arrival):
            self._end_ticks = ticks
            frame_ns = self._media_ns(duration)
            self._synchronize(self._offset.restarted(media_ns, arrival, frame_ns))
            self._offset.add(media_ns, arrival)
        late_ns = arrival.at_ns - self._offset.latest_ns - media_ns
        if late_ns > self._hold_ns:
            self._count_late(ticks, arrival)
            self._fill(ticks, arrival, frames)
            self._conceal(ticks, duration, arrival, frames)
            return
        self._late_offset = None
        if ticks != self._end_ticks:
            self._fill(ticks, arrival, frames)
        counts.played += 1
        if len(payload) <= codec.silent_bytes:
            self._announced = sequence
        audio = payload if codec.decode is None else codec.decode(payload)
        is_explained = late_ns <= self._offset.explained_ns and not self._offset.plays_on_arrival
        is_on_arrival = not is_explained and sequence > self._delayed_until
        frames.append(
            self._frame(media_ns, audio, len(payload), arrival, is_on_arrival=is_on_arrival)
        )
        self._end_ticks = ticks + duration
        self._frame_ticks = duration

    def _end_stream(self, *, resyncs: int = 1) -> None:
        self._ended_uncertainty_ns = self.start_uncertainty_ns
        self.counts.resyncs += resyncs
        self._increase = None

    def _synchronize(self, offset: OffsetEstimate) -> None:
        """Take another offset. The packets that wait were not part of it."""
        self._end_stream()
        self._open = None
        self._offset = offset
        for ticks, packet in self._waiting.values():
            if packet.kind == "audio" and self._is_continuous(ticks, packet.arrival):
                offset.add(self._media_ns(ticks), packet.arrival)

    def _is_continuous(self, ticks: int, arrival: Arrival) -> bool:
        """Return False if a packet in order does not fit to the media time of the packets before
        it.
        """
        if ticks < self._end_ticks and ticks <= self._end_ticks - self._frame_ticks:
            return False
        return arrival.at_ns - self._media_ns(ticks) > self._offset.latest_ns - RESYNC_NS

    def _count_late(self, ticks: int, arrival: Arrival) -> None:
        self.counts.late += 1
        media_ns = self._media_ns(ticks)
        if self._late_offset is None:
            self._late_offset = self._offset.restarted(media_ns, arrival)
            self._late_since_ns = arrival.at_ns
        self._late_offset.add(media_ns, arrival)
        if arrival.at_ns - self._late_since_ns >= RESYNC_NS:
            self._synchronize(self._late_offset)
            self._late_offset = None

    def _count_behind(self, sequence: int) -> None:
        """Count a packet that arrives after later ones were released. The receiver passes on each
        packet once.

        It was missing then, unless it precedes the first packet, which has overtaken it.
        """
        if sequence > self._first:
            self.counts.lost -= 1
        else:
            self.counts.lost += self._first - sequence - 1
            self._first = sequence

    def _fill(self, until_ticks: int, arrival: Arrival, frames: list[Frame]) -> None:
        """Fill the silence that was not sent before a packet that arrived, if it is short.

        Less than a frame is no silence: the sender took the timestamp from a clock, or rounded it.
        """
        ticks = until_ticks - self._end_ticks
        if ticks >= self._frame_ticks:
            unsent_ns = self._media_ns(ticks)
            self.counts.unsent_ns += unsent_ns
            is_announced = self._announced == self._next - 2
            if 0 < unsent_ns <= (MAX_ANNOUNCED_NS if is_announced else MAX_FILLED_NS):
                silence = self._silence(ticks)
                frames.append(
                    self._frame(self._media_ns(self._end_ticks), silence, len(silence), arrival)
                )
        self._end_ticks = until_ticks

    def _conceal(self, ticks: int, duration: int, arrival: Arrival, frames: list[Frame]) -> None:
        frames.append(self._frame(self._media_ns(ticks), self._silence(duration), 0, arrival))
        self.counts.concealed_frames += 1
        self.counts.concealed_ns += self._media_ns(duration)
        self._end_ticks = ticks + duration

    def _frame(
        self,
        media_ns: int,
        audio: bytes,
        payload_bytes: int,
        arrival: Arrival,
        *,
        is_on_arrival: bool = False,
    ) -> Frame:
        """Return a frame, which a packet releases that arrives.

        Its instant is not later than that, nor earlier if it is played on arrival. But it is not
        earlier than that of the frame before it. The uncertainty reaches back to the clock if a
        player may have held the packet until then.
        """
        offset = self._offset
        arrived_ns, error_ns, _ = arrival
        if is_on_arrival and offset.plays_on_arrival:
            self._at_ns = at_ns = max(arrived_ns, self._at_ns)
            return Frame(at_ns, at_ns - arrived_ns + error_ns, audio, payload_bytes)
        if not offset.has_smoothed:
            self._first_error_ns = max(self._first_error_ns, error_ns)
        uncertainty_ns = offset.uncertainty_ns
        clock_ns = min(offset.latest_ns + media_ns, arrived_ns)
        at_ns = max(arrived_ns if is_on_arrival else clock_ns, self._at_ns)
        if at_ns > clock_ns:
            was_certain = uncertainty_ns < ASSUMED_START_NS
            uncertainty_ns += at_ns - clock_ns
            self._has_wide = self._has_wide or (was_certain and uncertainty_ns >= ASSUMED_START_NS)
        self._at_ns = at_ns
        return Frame(at_ns, uncertainty_ns, audio, payload_bytes)

    def _media_ns(self, ticks: int) -> int:
        return ticks * NS_PER_S // self._clock_hz

    def _silence(self, ticks: int) -> bytes:
        return self._silent_sample * (ticks * self._rate_hz // self._clock_hz)
