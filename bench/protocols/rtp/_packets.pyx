# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The packets of audio in C: the sent ones, and the usual ones among the received ones.

`_packets_interpreted.py` has no usual ones. The rules are those of `rtp.py`, `jitter.py` and
`offset.py`, and so is the state. A packet is usual if these modules would only advance their state
with it: it is the next one of the stream, its audio continues the audio before it, and it is in
time.
"""

from bench.base import units
from bench.base.clock import SendTime
from bench.wire.connection import SendReceipt
from bench.protocols.rtp import jitter, offset, rtp
from bench.protocols.rtp.jitter import Frame
from bench.wire.connection import MatchedDelta

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.list cimport PyList_Append, PyList_GET_SIZE
from libc.math cimport expm1, fabs, sqrt
from libc.string cimport memcpy

cdef enum:
    HEADER_BYTES = 12
    PLAIN_HEADER = 0x80  # version 2, without padding, header extension and contributing sources
    MARKER = 0x80
    FIRST_REPORT = 192  # as in rtp.py
    LAST_REPORT = 223
    MAX_EXACT_TICKS = 9_000_000  # in ns, these are exact as a float

assert (HEADER_BYTES, PLAIN_HEADER) == (
    rtp.HEADER_BYTES,
    rtp.VERSION << 6,
), "both implementations read the same"
assert range(FIRST_REPORT, LAST_REPORT + 1) == rtp.RTCP_TYPES, "both implementations read the same"

cdef long long NS_PER_S = units.NS_PER_S, RESYNC_NS = offset.RESYNC_NS
cdef long long NS_PER_DRIFT_NS = offset._NS_PER_DRIFT_NS
cdef long long MAX_PACKET_BYTES = rtp.MAX_PACKET_BYTES, MAX_TICKS = (1 << 63) // NS_PER_S - 1
cdef long long BLOCK_PACKETS = offset.BLOCK_PACKETS, WINDOW_PACKETS = offset.WINDOW_PACKETS
cdef long long START_PACKETS = offset.START_PACKETS
cdef long long MAX_OFFSET_NS = (1 << 63) // (2 * offset.BLOCK_PACKETS)
cdef long long ASSUMED_START_NS = offset.ASSUMED_START_NS, MIN_STEP_NS = offset.MIN_STEP_NS
cdef long long MIN_BURST_SPEED = offset.MIN_BURST_SPEED, NEVER_NS = units.NEVER_NS
cdef long long MAX_DELAYS_OF_JITTER = offset.MAX_DELAYS_OF_JITTER
cdef long long ASSUMED_PACKETS = offset.ASSUMED_PACKETS
cdef long long MAX_DELAY_PACKETS = offset.MAX_DELAY_PACKETS, SMOOTHED_NS = offset.SMOOTHED_NS
cdef double LOG_DOUBT = offset._LOG_DOUBT, LOG_UNEXPLAINED = offset._LOG_UNEXPLAINED
cdef double JITTER_GAIN = rtp.JITTER_GAIN
cdef double LEAST_DELAY = offset._least_delay(offset.BLOCK_PACKETS)
cdef double FADING = 1 - 1 / offset.WINDOW_BLOCKS
cdef object BlockMinimum = offset.BlockMinimum
cdef object LATEST = rtp._LATEST
cdef object new_tuple = tuple.__new__


cdef inline unsigned int word(const unsigned char *data) noexcept:
    return <unsigned int>data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3]


cdef inline void put_word(unsigned char *into, unsigned int word) noexcept:
    into[0] = word >> 24
    into[1] = word >> 16 & 0xFF
    into[2] = word >> 8 & 0xFF
    into[3] = word & 0xFF


cdef int end_block(estimate, list offsets) except -1:
    """Do the same as `OffsetEstimate._end_block` for a block of which `BLOCK_PACKETS` offsets and
    one before are known.
    """
    cdef long long before_ns = offsets[0], low_ns = NEVER_NS, second_ns = NEVER_NS, high_ns = 0
    cdef long long sum_ns = 0
    cdef long long decrease_ns = estimate._burst_ns, known = estimate._known_packets, growth_ns
    cdef long long latest_ns, offset_ns = 0
    cdef Py_ssize_t place
    cdef double jitter_ns, delay_ns, known_delay_ns, mean_delay_ns, smooth_ns = estimate._jitter_ns
    cdef double explained_ns
    for place in range(1, BLOCK_PACKETS + 1):
        offset_ns = offsets[place]
        decrease_ns += max(0, before_ns - offset_ns)
        before_ns = offset_ns
        sum_ns += offset_ns
        high_ns = offset_ns if place == 1 else max(high_ns, offset_ns)
        if offset_ns < low_ns:
            low_ns, second_ns = offset_ns, low_ns
        elif offset_ns < second_ns:
            second_ns = offset_ns
    jitter_ns = 2 * <double>decrease_ns / BLOCK_PACKETS
    delay_ns = <double>(sum_ns - low_ns - (BLOCK_PACKETS - 1) * second_ns) / (BLOCK_PACKETS - 2)
    delay_ns = min(delay_ns, MAX_DELAYS_OF_JITTER * jitter_ns)
    estimate._longest_ns = max(<double>estimate._longest_ns * FADING, <double>(high_ns - low_ns))

    known += BLOCK_PACKETS
    estimate._known_packets = known
    known_delay_ns = estimate._known_delay_ns
    known_delay_ns += (delay_ns - known_delay_ns) * (
        <double>BLOCK_PACKETS / min(known, MAX_DELAY_PACKETS)
    )
    mean_delay_ns = estimate._mean_delay_ns
    mean_delay_ns += (delay_ns - mean_delay_ns) * (
        <double>BLOCK_PACKETS / min(known + ASSUMED_PACKETS, MAX_DELAY_PACKETS)
    )
    estimate._known_delay_ns, estimate._mean_delay_ns = known_delay_ns, mean_delay_ns
    known = estimate._jitter_packets + BLOCK_PACKETS
    estimate._jitter_packets = known
    known = min(known, MAX_DELAY_PACKETS)
    smooth_ns += (jitter_ns - smooth_ns) * BLOCK_PACKETS / known
    estimate._jitter_ns = smooth_ns

    # as `_use_jitter`
    explained_ns = LOG_UNEXPLAINED * smooth_ns
    estimate.usual_ns = MIN_STEP_NS + <long long>(mean_delay_ns * LEAST_DELAY)
    estimate.explained_ns = <long long>explained_ns if <long long>explained_ns >= SMOOTHED_NS else 0
    if <long long>explained_ns >= SMOOTHED_NS:
        estimate.has_smoothed = True
    estimate.plays_on_arrival = smooth_ns * known * expm1(LOG_UNEXPLAINED / known) < SMOOTHED_NS

    blocks = estimate._blocks
    if low_ns - <long long>estimate.latest_ns > known_delay_ns * LEAST_DELAY:
        blocks.clear()
        estimate._packets, estimate._first_ns = BLOCK_PACKETS, estimate.media_ns
    growth_ns = <long long>estimate.media_ns // NS_PER_DRIFT_NS
    low_ns -= growth_ns
    blocks.append(new_tuple(BlockMinimum, (low_ns, low_ns - <long long>estimate._block_error_ns)))
    estimate._offsets_ns = [offset_ns]
    estimate._burst_ns = estimate._block_error_ns = 0
    latest_ns = <long long>min(blocks)[0] + growth_ns
    if latest_ns > <long long>estimate.latest_ns:
        estimate._excess_ns += latest_ns - <long long>estimate.latest_ns
        estimate.latest_ns = latest_ns
        if not estimate._early_ns:
            offset_ns = <long long>min([block[1] for block in blocks]) + growth_ns
            estimate._earliest_ns = min(offset_ns, latest_ns)
    return 0


cdef class UsualPackets:
    """The usual packets of one call, with the state of its receiver and its buffer."""

    cdef object receiver, buffer, peer, unprotect, source, ticks_of, decode
    cdef bint is_named
    cdef int payload_type
    """The payload type of `ticks_of` and `decode`; -1 if they must be found."""
    cdef long long overhead_bytes, clock_hz, hold_ns, silent_bytes

    def __init__(self, receiver, buffer):
        self.receiver, self.buffer, self.source, self.payload_type = receiver, buffer, None, -1
        self.hold_ns = buffer._hold_ns

    def use(self, peer, unprotect, long long overhead_bytes):
        """Use an agreement from now on. `unprotect` is None if packets are not encrypted."""
        self.peer, self.unprotect, self.overhead_bytes = peer, unprotect, overhead_bytes
        self.clock_hz = self.buffer._clock_hz
        self.source, self.payload_type = None, -1

    def take(
        self,
        list datagrams not None,
        long long start_ns,
        long long now_ns,
        long long due_ns,
        list frames not None,
        list deltas not None,
        event,
    ):
        """Accept the first datagrams that are usual packets. Return their number.

        Packets that arrived before `start_ns` are not. Each is appended to `deltas`, as a delta
        with this event that is handled at `now_ns`, or to `frames` if `event` is None, or if
        `frames` has earlier ones. A packet that arrived before `due_ns` was to wait until then.
        """
        cdef Py_ssize_t taken = 0
        for data, source, arrival in datagrams:
            try:
                if not self.accept(
                    data, source, arrival, start_ns, now_ns, due_ns, frames, deltas, event
                ):
                    break
            except OverflowError:
                # media time is so late that it has more than 63 bits; nothing was changed
                break
            taken += 1
        return taken

    cdef bint find_codec(self, int payload_type) except -1:
        codec = self.buffer._codecs.get(payload_type)
        if codec is None or self.receiver._kinds.get(payload_type) != "audio":
            return False
        self.ticks_of, self.decode, self.payload_type = codec.ticks, codec.decode, payload_type
        self.silent_bytes = codec.silent_bytes
        return True

    cdef bint accept(
        self, bytes data, source, arrival, long long start_ns, long long now_ns, long long due_ns,
        list frames, list deltas, event,
    ) except -1:
        """Accept a datagram. Return False, and change nothing, if it is no usual packet."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef const unsigned char *head = <const unsigned char *>PyBytes_AS_STRING(data)
        cdef object receiver = self.receiver, buffer = self.buffer, counts, earlier
        cdef long long at_ns = (<tuple>arrival)[0], arrival_uncertainty_ns = (<tuple>arrival)[1]
        cdef long long available_ns
        cdef long long highest, ticks, gap, media_ns, offset_ns, passed_ns, drift_ns, latest_ns
        cdef long long earliest_ns
        cdef long long last_ns, clock_ns, played_ns, jitter_ticks = 0, duration, uncertainty_ns
        cdef long long start_packets = -1
        cdef long long late_ns, packets, counted, last_offset_ns
        cdef list offsets
        cdef double excess_ns, spread_ns, better_ns, jitter_ns
        cdef unsigned int timestamp, ssrc
        cdef int sequence
        cdef bint was_marked, is_marked, is_full, is_on_arrival
        size -= self.overhead_bytes - HEADER_BYTES  # as it is when it is decrypted
        if (
            not HEADER_BYTES < size <= MAX_PACKET_BYTES
            or at_ns < start_ns
            or head[0] != PLAIN_HEADER
        ):
            return False
        if FIRST_REPORT <= head[1] <= LAST_REPORT:
            return False
        if (head[1] & 0x7F) != self.payload_type and not self.find_codec(head[1] & 0x7F):
            return False
        sequence, timestamp, ssrc = head[2] << 8 | head[3], word(head + 4), word(head + 8)

        # as `RtpReceiver.receive`
        highest = receiver.highest_sequence
        earlier = receiver.ssrc
        if earlier is None or <long long>earlier != ssrc or sequence != ((highest + 1) & 0xFFFF):
            return False
        last_ns = receiver._last_ns
        if last_ns >= 0:
            jitter_ticks = <int>(timestamp - <unsigned int>receiver._last_timestamp)
            if not -MAX_EXACT_TICKS < jitter_ticks < MAX_EXACT_TICKS:
                return False

        # as `JitterBuffer.add`
        if buffer._waiting or buffer._standstill is not None or buffer._increase is not None:
            return False
        if buffer._open is not None:
            return False
        # it is in another source, whose numbers are higher
        if <long long>buffer._next != highest + 1:
            return False
        ticks = <long long>buffer._ticks + <int>(timestamp - <unsigned int>buffer._timestamp)
        gap = ticks - <long long>buffer._end_ticks
        if gap and not -<long long>buffer._frame_ticks < gap < <long long>buffer._frame_ticks:
            return False
        if not 0 <= ticks < MAX_TICKS:
            return False
        was_marked, is_marked = buffer._is_marked, head[1] >= MARKER
        if is_marked and not was_marked:
            return False
        media_ns = ticks * NS_PER_S // self.clock_hz
        offset_ns = at_ns - media_ns
        if not -MAX_OFFSET_NS < offset_ns < MAX_OFFSET_NS:
            return False

        # as `OffsetEstimate.add`
        estimate = buffer._offset
        latest_ns, earliest_ns = estimate.latest_ns, estimate._earliest_ns
        passed_ns = media_ns - <long long>estimate.media_ns
        if offset_ns <= latest_ns - RESYNC_NS or not 0 < passed_ns < RESYNC_NS:
            return False
        if estimate._start_uncertainty_ns is None:
            start_packets = estimate._start_packets
            if start_packets >= START_PACKETS:
                return False
        offsets = estimate._offsets_ns
        last_offset_ns = offsets[PyList_GET_SIZE(offsets) - 1]  # a negative index is not checked
        is_full = PyList_GET_SIZE(offsets) > BLOCK_PACKETS
        if (is_full or offset_ns < latest_ns - MIN_STEP_NS) and (
            (at_ns - last_offset_ns - media_ns + passed_ns) * MIN_BURST_SPEED < passed_ns
        ):
            return False
        late_ns = offset_ns - latest_ns - passed_ns // NS_PER_DRIFT_NS
        if late_ns > <long long>estimate.usual_ns or late_ns > self.hold_ns or estimate._ahead_ns:
            return False
        if self.unprotect is not None:
            data = self.unprotect(data)
            if data is None:
                return False
        if is_full:  # from here on, the packet is accepted
            end_block(estimate, offsets)
            offsets = estimate._offsets_ns
            latest_ns = estimate.latest_ns
            earliest_ns = estimate._earliest_ns
        drift_ns = passed_ns // NS_PER_DRIFT_NS
        latest_ns += drift_ns
        earliest_ns += drift_ns
        late_ns = offset_ns - latest_ns
        excess_ns = <double>estimate._excess_ns + 2 * drift_ns
        if offset_ns < latest_ns:
            latest_ns = offset_ns
        if offset_ns - arrival_uncertainty_ns < earliest_ns:
            earliest_ns = offset_ns - arrival_uncertainty_ns
        counted = packets = <long long>estimate._packets + 1
        drift_ns = (media_ns - <long long>estimate._first_ns) // NS_PER_DRIFT_NS
        if counted > WINDOW_PACKETS:
            drift_ns = drift_ns * WINDOW_PACKETS // counted
            counted = WINDOW_PACKETS
        spread_ns = LOG_DOUBT * (4 * <double>estimate._mean_delay_ns + excess_ns)
        if counted * drift_ns > spread_ns:
            better_ns = 2 * sqrt(spread_ns * drift_ns / counted)
        else:
            better_ns = spread_ns / counted + drift_ns
        if better_ns < excess_ns:
            excess_ns = better_ns

        # as `JitterBuffer._play` and `_frame`
        played_ns = buffer._at_ns
        is_on_arrival = highest >= <long long>buffer._delayed_until
        if is_on_arrival and estimate.plays_on_arrival:
            played_ns = max(played_ns, at_ns)
            uncertainty_ns = played_ns - at_ns + arrival_uncertainty_ns
        else:
            if arrival_uncertainty_ns and not estimate.has_smoothed:
                buffer._first_error_ns = max(buffer._first_error_ns, arrival_uncertainty_ns)
            clock_ns = latest_ns + media_ns
            uncertainty_ns = latest_ns - earliest_ns + <long long>excess_ns
            if is_on_arrival and late_ns > <long long>estimate.explained_ns:
                played_ns = max(played_ns, at_ns)
            played_ns = max(played_ns, clock_ns)
            if played_ns > clock_ns:
                if uncertainty_ns < ASSUMED_START_NS <= uncertainty_ns + played_ns - clock_ns:
                    buffer._has_wide = True
                uncertainty_ns += played_ns - clock_ns

        payload = data[HEADER_BYTES:]
        size -= HEADER_BYTES
        duration = size if self.ticks_of is len else self.ticks_of(payload)

        counts = receiver.counts
        counts.received += 1
        receiver.highest_sequence = highest + 1
        receiver._stray = None
        if source is not self.source:
            self.source, self.is_named = source, source[:2] == self.peer
        if self.is_named:
            receiver._is_named = True
        earlier = receiver._received
        if earlier is not LATEST:
            earlier = (earlier << 1 | 1) & LATEST
            receiver._received = LATEST if earlier == LATEST else earlier
        receiver._heard_ns = receiver._last_ns = at_ns
        receiver._last_timestamp = receiver._highest_timestamp = timestamp
        if last_ns >= 0:
            jitter_ns = receiver._jitter_ns
            spread_ns = at_ns - last_ns - <double>(jitter_ticks * NS_PER_S) / self.clock_hz
            receiver._jitter_ns = jitter_ns + (fabs(spread_ns) - jitter_ns) * JITTER_GAIN

        estimate.latest_ns = latest_ns
        estimate._earliest_ns = earliest_ns
        estimate.media_ns = media_ns
        estimate._excess_ns, estimate._packets = excess_ns, packets
        if start_packets >= 0:
            estimate._start_packets = start_packets + 1
        PyList_Append(offsets, offset_ns)
        if arrival_uncertainty_ns and arrival_uncertainty_ns > <long long>estimate._block_error_ns:
            estimate._block_error_ns = arrival_uncertainty_ns

        buffer._ticks, buffer._timestamp = ticks, timestamp
        if was_marked and not is_marked:
            buffer._is_marked = False
        buffer._next = highest + 2
        counts = buffer.counts
        if not duration:
            counts.bad_audio += 1
            return True
        buffer._late_offset = None
        counts.played += 1
        if size <= self.silent_bytes:
            buffer._announced = highest + 1
        audio = payload if self.decode is None else self.decode(payload)
        available_ns, at_ns = max(at_ns, due_ns), played_ns
        buffer._at_ns = played_ns
        buffer._end_ticks, buffer._frame_ticks = ticks + duration, duration
        if event is None or frames or not audio:
            frames.append((new_tuple(Frame, (at_ns, uncertainty_ns, audio, size)), available_ns))
        else:
            deltas.append(new_tuple(MatchedDelta, (
                event, at_ns, uncertainty_ns, now_ns - max(at_ns, available_ns), len(audio),
                size + self.overhead_bytes, audio,
            )))
        return True


cdef class AudioPackets:
    """The packets of one call's audio, with the state of its `RtpSender`."""

    cdef object sender, encode, ticks_of, protect
    cdef int payload_type

    def __init__(self, sender):
        self.sender = sender

    def use(self, protect):
        """Use an agreement, which the sender has, from now on. `protect` is None if packets are not
        encrypted.
        """
        codec = self.sender.codec
        self.encode = codec.encode
        self.ticks_of = codec.ticks
        self.payload_type = self.sender.payload_type
        self.protect = protect

    cpdef bytes next(self, audio):
        """Return the packet of the next frame, as `RtpSender.audio` does, encrypted."""
        cdef object sender = self.sender
        payload = audio if self.encode is None else self.encode(audio)  # may be a `BinaryMessage`
        if not PyBytes_Check(payload):
            raise TypeError(f"audio must be bytes, not {type(payload).__name__}")
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + size)
        cdef unsigned char *head = <unsigned char *>PyBytes_AS_STRING(packet)
        cdef unsigned int sequence = sender.sequence_number, timestamp = sender.timestamp
        cdef unsigned int ticks = size if self.ticks_of is len else self.ticks_of(payload)
        head[0], head[1] = PLAIN_HEADER, self.payload_type
        if sender._talk_starts:
            head[1] |= MARKER
            sender._talk_starts = False
        head[2], head[3] = sequence >> 8, sequence & 0xFF
        put_word(head + 4, timestamp)
        put_word(head + 8, sender.ssrc)
        memcpy(head + HEADER_BYTES, PyBytes_AS_STRING(payload), size)
        sender.sequence_number, sender.timestamp = (sequence + 1) & 0xFFFF, timestamp + ticks
        sender.packet_count += 1
        sender.payload_bytes += size
        return packet if self.protect is None else self.protect(packet)


def send_frame(AudioPackets packets not None, write, refused, peer, audio):
    """Send the packet of the next frame. Return its receipt.

    `write` is a `DatagramWriter.send`. `refused` gets a packet that it did not send, and returns
    the receipt.
    """
    cdef bytes packet = packets.next(audio)
    sent = write(packet, peer)
    if type(sent) is not SendTime:
        return refused(packet, peer)
    return new_tuple(SendReceipt, (sent, len(packet), "", None))
