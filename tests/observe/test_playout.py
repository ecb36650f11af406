"""The audio that the caller's side of a call plays, and the instant at which it reports a mark
as played.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.observe.reply import Reply
from bench.observe.reply_detector import (
    GAP_NS,
    KNOWN_NS,
    MAX_MARKERS,
    SILENCE_NS,
    PlayoutQueue,
    ReplyDetector,
)
from bench.plan.recordings import to_pcm16
from bench.services.agents import PCM
from bench.sound.onsets import PAUSE_NS
from bench.wire.audio import G711_ULAW, PCM16_16K, AudioFormat, Samples
from bench.wire.connection import MatchedDelta
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EventKind, PlayoutPosition, ServerEvent, StrippedAudio
from tests.helpers import MS
from tools.benchmarks import onsets

FRAME_MS = 20
LOUD = BinaryMessage(
    PCM16_16K.encode(np.tile(np.repeat(np.array([3_000, -3_000], np.int16), 40), FRAME_MS // 5))
)
"""20 ms of a buzz of 200 Hz, which is too low for a tone."""
SILENT = BinaryMessage(bytes(2 * 16 * FRAME_MS))


BEGIN_MS = 2_000
QUIET = tuple((number * FRAME_MS, SILENT) for number in range(BEGIN_MS // FRAME_MS))
SPOKEN = tuple((BEGIN_MS + number * FRAME_MS, LOUD) for number in range(10))


def detector_after(*messages: tuple[int, bytes]) -> ReplyDetector:
    """Return a detector that has received silence and then these messages.

    A message is given by its time in ms and its data.
    """
    detector = ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True)
    for at_ms, data in (*QUIET, *messages):
        detected_events(detector, PCM.decode(data), at_ms)
    return detector


def detected_events(
    detector: ReplyDetector, events: Sequence[ServerEvent], at_ms: int
) -> list[tuple[EventKind, str]]:
    """Return the type and the status of the events that the detector finds at an instant. Leave
    out transcripts.
    """
    arrival = Arrival(at_ms * MS)
    pairs = detector.events_in(detector.detect_replies(events, arrival), arrival)
    return [
        (event.kind, event.status)
        for event, _ in pairs
        if event.kind is not EventKind.TRANSCRIPT_DONE
    ]


def mark(text: str) -> ServerEvent:
    return ServerEvent(EventKind.MARKED, "mark", text=text)


def test_a_mark_is_played_when_all_audio_before_it_was_played() -> None:
    playout = PlayoutQueue()
    playout.play(0, 300 * MS)
    playout.mark(10 * MS, mark("first"))
    playout.play(100 * MS, 200 * MS)
    playout.mark(110 * MS, mark("second"))

    assert playout.due_ns == 300 * MS
    assert playout.played_by(299 * MS) == []
    assert playout.played_by(300 * MS) == [mark("first")]
    assert playout.due_ns == 500 * MS
    assert playout.played_by(500 * MS) == [mark("second")]
    assert playout.due_ns == NEVER_NS


def test_cleared_marks_count_as_played_and_later_audio_is_played_at_once() -> None:
    playout = PlayoutQueue()
    playout.play(0, 3_000 * MS)
    playout.mark(0, mark("dropped"))
    playout.clear(200 * MS)
    playout.play(210 * MS, 20 * MS)

    assert playout.played_by(200 * MS) == [mark("dropped")]
    assert playout.until_ns == 230 * MS


def test_the_queue_overflows_with_too_many_waiting_marks_or_too_much_audio() -> None:
    played, waiting, ahead = PlayoutQueue(), PlayoutQueue(), PlayoutQueue()
    for number in range(3 * MAX_MARKERS):
        played.mark(number, mark(str(number)))
    waiting.play(0, 1)
    for number in range(MAX_MARKERS + 1):
        waiting.mark(0, mark(str(number)))

    ahead.play(0, MAX_HOLD_NS + 1)

    assert (played.overflow, waiting.overflow) == (
        None,
        ("marks", "1000 marks wait for what was not played yet"),
    )
    assert ahead.overflow == ("audio", "600 s of audio are queued for playback")


@given(
    st.lists(
        st.tuples(st.sampled_from("pmc"), st.integers(0, 50), st.integers(1, 500)), max_size=80
    )
)
def test_every_mark_is_reported_once_in_order_and_never_early(
    steps: list[tuple[str, int, int]],
) -> None:
    playout, now_ns, played, made = PlayoutQueue(), 0, [], []
    for number, (kind, wait, length) in enumerate(steps):
        now_ns += wait
        played += playout.played_by(now_ns)
        match kind:
            case "p":
                playout.play(now_ns, length)
            case "m":
                playout.mark(now_ns, mark(str(number)))
                made.append(mark(str(number)))
            case "c":
                playout.clear(now_ns)
        assert playout.due_ns <= max(now_ns, playout.until_ns) or len(played) == len(made)
    assert played + playout.played_by(NEVER_NS) == made


def test_a_clear_cancels_a_reply_that_is_still_played_but_not_one_that_was_played() -> None:
    cut, played = detector_after(*((BEGIN_MS, LOUD) for _ in range(100))), detector_after(*SPOKEN)
    clear = ServerEvent(EventKind.CLEARED, "clear")

    assert detected_events(cut, [clear], BEGIN_MS + 500) == [(EventKind.CLEARED, "")]
    over_ns = (BEGIN_MS + 500) * MS + PAUSE_NS + KNOWN_NS
    assert [(event.status, came.at_ns) for event, came in cut.ended_by(over_ns)][-1] == (
        "cancelled",
        over_ns,
    )
    assert detected_events(played, [clear], BEGIN_MS + 500) == [
        (EventKind.RESPONSE_DONE, "completed"),
        (EventKind.CLEARED, ""),
    ]
    assert cut.playout.until_ns == (BEGIN_MS + 500) * MS


def test_audio_that_continues_after_a_clear_without_a_pause_belongs_to_the_cancelled_reply() -> (
    None
):
    """Such audio was sent before the `clear` took effect, or the agent does not stop.

    Audio after a pause is another reply.
    """
    cut_ms, clear = BEGIN_MS + 500, ServerEvent(EventKind.CLEARED, "clear")
    detector = detector_after(*((BEGIN_MS, LOUD) for _ in range(100)))
    detected_events(detector, [clear], cut_ms)
    late = [cut_ms + number * FRAME_MS for number in range(1, 15)]
    again = [late[-1] + 400 + number * FRAME_MS for number in range(10)]
    events = list[ServerEvent]()
    for at_ms in (*late, *again):
        arrival = Arrival(at_ms * MS)
        events += [
            event
            for event, _ in detector.events_in(
                detector.detect_replies(PCM.decode(LOUD), arrival), arrival
            )
        ]

    replies = [event.response_id for event in events if event.kind is EventKind.AUDIO_DELTA]
    assert replies == ["heard-1"] * len(late) + ["heard-2"] * len(again)
    assert [event.status for event in events if event.kind is EventKind.RESPONSE_DONE] == [
        "cancelled"
    ]


JITTER_NS = 50 * MS
BEHINDS = [behind for behind in onsets.BEHIND if behind[0] not in ("other voices", "a room")]
Late = list[tuple[int, int]]
"""The number of each delayed frame, and its delay in ms. The frames are in any order."""


def before(
    behind: tuple[str, float], voice: int, ahead_ms: int, tail_ms: int = 500
) -> tuple[Samples, int]:
    """Return the samples of a recorded voice with background noise, and the number of the voice's
    first sample.

    The noise begins `ahead_ms` before the voice.
    """
    rate_hz, voices = G711_ULAW.rate_hz, onsets.voices(G711_ULAW.rate_hz)
    begin = rate_hz * ahead_ms // 1_000
    clean = np.concatenate(
        [np.zeros(begin), voices[voice][: 2 * rate_hz], np.zeros(rate_hz * tail_ms // 1_000)]
    )
    level, rng = float(np.mean([onsets.rms(each) for each in voices])), np.random.default_rng(voice)
    mixed = clean + onsets.noise(*behind, len(clean), rate_hz, level, rng)
    return G711_ULAW.decode(G711_ULAW.encode(to_pcm16(mixed.astype(np.float32)))), begin


def frames_of(samples: Samples, format: AudioFormat) -> list[ServerEvent]:
    size = format.rate_hz * FRAME_MS // 1_000
    pieces = (samples[at : at + size] for at in range(0, len(samples) - size + 1, size))
    return [event for piece in pieces for event in PCM.decode(BinaryMessage(format.encode(piece)))]


def arrivals_ms(count: int, late: Late) -> list[int]:
    """Return the times in ms at which frames arrive. `late` contains the delayed frames.

    The frames keep their order.
    """
    lateness = dict(late)
    came = (FRAME_MS * number + lateness.get(number, 0) for number in range(count))
    return np.maximum.accumulate(list(came)).tolist()


@given(
    behind=st.sampled_from(BEHINDS),
    voice=st.integers(0, 8),
    ahead_ms=st.integers(1_200, 1_500),
    late=st.lists(st.tuples(st.integers(1, 100), st.integers(20, 95)), max_size=12),
)
def test_the_uncertainty_of_a_voice_s_begin_holds_if_frames_arrive_late(
    behind: tuple[str, float], voice: int, ahead_ms: int, late: Late
) -> None:
    """A delayed frame is played when it arrives. A later frame that is not delayed is played at
    its own time.
    """
    samples, begin = before(behind, voice, ahead_ms)
    frames = frames_of(samples, G711_ULAW)
    came_ms = arrivals_ms(len(frames), late)
    detector, reply = ReplyDetector(G711_ULAW, SILENCE_NS, pauses=True), Reply(G711_ULAW, JITTER_NS)
    for event, at_ms in zip(frames, came_ms, strict=True):
        arrival = Arrival(at_ms * MS)
        for found, came in detector.events_in(detector.detect_replies([event], arrival), arrival):
            if found.response_id == "heard-1" and isinstance(found.payload, StrippedAudio):
                delta = MatchedDelta(
                    found, came.at_ns, came.uncertainty_ns, 0, found.payload_bytes, 0
                )
                reply.received_deltas([delta], is_heard=True)

    size = G711_ULAW.rate_hz * FRAME_MS // 1_000
    heard_ms = max(came_ms[begin // size], begin // size * FRAME_MS) + begin % size / 8
    audible = reply.audio_instants()["first_audible"]
    assert audible is not None
    off_ms = (audible.at_ns - JITTER_NS) / NS_PER_MS - heard_ms
    assert abs(off_ms) <= audible.uncertainty_ns / NS_PER_MS + 0.001


@pytest.mark.parametrize(
    "behind", [("white noise", 20), ("music", 10), ("comfort noise, −50 dBFS", -50)]
)
@pytest.mark.parametrize("gap_ms", [400, 800, 1_200])
def test_constant_noise_is_no_voice_after_late_frames(
    behind: tuple[str, float], gap_ms: int
) -> None:
    """The frames behind the delayed frame arrive with it. The gap before them is not a silence.
    A `clear` follows.
    """
    samples, begin = before(behind, 0, 2_000, tail_ms=3_000)
    frames, late = frames_of(samples, G711_ULAW), begin // 160 + 10
    came_ms, cleared = arrivals_ms(len(frames), [(late, gap_ms)]), begin // 160 + 100
    detector = ReplyDetector(G711_ULAW, SILENCE_NS, pauses=True)
    sounds = list[int]()
    for number, (event, at_ms) in enumerate(zip(frames, came_ms, strict=True)):
        arrival = Arrival(at_ms * MS)
        if number == cleared:
            detected_events(detector, [ServerEvent(EventKind.CLEARED, "clear")], at_ms)
        listened = detector.detect_replies([event], arrival)
        list(detector.events_in(listened, arrival))
        if number >= cleared:
            sounds += [
                number
                for each in listened
                if isinstance(each.payload, StrippedAudio) and each.payload.until
            ]

    assert sounds == []


def test_silence_that_arrives_before_a_voice_is_not_part_of_its_reply() -> None:
    """Silence may arrive arbitrarily early.

    Nevertheless, the detector moves the beginning of a sound back by half a second at most.
    """
    detector = ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True)
    for number in range(3_000):
        detected_events(detector, PCM.decode(SILENT), max(0, number * FRAME_MS - 200))
    deltas = list[ServerEvent]()
    for number in range(3_000, 3_010):
        arrival = Arrival((number * FRAME_MS - 200) * MS)
        found = detector.events_in(detector.detect_replies(PCM.decode(LOUD), arrival), arrival)
        deltas += [event for event, _ in found if event.response_id]

    assert len(deltas) == 10
    assert isinstance(deltas[0].payload, StrippedAudio)
    assert deltas[0].payload.place == (200 * MS, 0, 0)


FRAME_NS = 20 * MS
LARGEST_NS = MS
"""The maximum error of a timestamp."""
MINUTES = 10
Frames = list[tuple[int, int, int]]
"""The timestamp of each frame, the uncertainty of this timestamp, and its actual error."""


def evenly(step_ns: int, count: int, size: int = 1) -> Iterator[int]:
    """Yield the instants at which frames arrive. After each `step_ns`, `size` frames arrive
    together.
    """
    return (GAP_NS * 10 + number // size * step_ns for number in range(count))


def jittering(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Yield the instants at which frames arrive. One frame in ten is up to 250 ms late, and all
    others up to 2 ms.
    """
    at_ns = 0
    for number in range(count):
        late_ns = int(rng.integers(250 * MS if rng.random() < 0.1 else 2 * MS))
        at_ns = max(at_ns, GAP_NS * 10 + number * FRAME_NS + late_ns)
        yield at_ns


def stamped(came_ns: Iterator[int], rng: np.random.Generator) -> Frames:
    """Draw an error for the timestamp of each frame. The frames keep their order."""
    frames, true_ns = Frames(), 0
    for at_ns in came_ns:
        error_ns = int(rng.integers(LARGEST_NS + 1))
        true_ns = max(true_ns, at_ns - int(rng.integers(error_ns + 1)))
        frames.append((at_ns, error_ns, at_ns - true_ns))
    return frames


@pytest.mark.parametrize(
    "agent",
    [
        "sleeps 20.2 ms",
        "sleeps 23 ms",
        "bursts, 3 % slow",
        "bursts, 3 % fast",
        "jitters",
        "in time",
    ],
)
def test_the_uncertainty_of_an_instant_does_not_grow_with_the_length_of_a_reply(agent: str) -> None:
    rng, count = np.random.default_rng(1), MINUTES * 60 * 50
    came_ns = {
        "sleeps 20.2 ms": evenly(20_200_000, count),
        "sleeps 23 ms": evenly(23 * MS, count),
        "bursts, 3 % slow": evenly(206 * MS, count, 10),
        "bursts, 3 % fast": evenly(194 * MS, count, 10),
        "jitters": jittering(rng, count),
        "in time": evenly(FRAME_NS, count),
    }[agent]
    measured, true = PlayoutQueue(), PlayoutQueue()
    for at_ns, error_ns, earlier_ns in stamped(came_ns, rng):
        heard_ns, bound_ns = measured.play(at_ns, FRAME_NS, error_ns)
        really_ns, _ = true.play(at_ns - earlier_ns, FRAME_NS)

        assert heard_ns - bound_ns <= really_ns <= heard_ns
        assert bound_ns <= (
            LARGEST_NS if agent.startswith("sleeps") or agent == "in time" else 3 * LARGEST_NS
        )


STEPS = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 30), st.integers(0, 5), st.floats(0, 1), st.booleans()
    ),
    min_size=1,
    max_size=60,
)
"""The steps of a stream.

A step is (ms since the previous step, duration in ms, uncertainty in ms, actual error as a share of
the uncertainty, True for a `clear`).
"""


@given(steps=STEPS)
def test_the_true_playback_of_a_delta_is_within_its_uncertainty_for_any_timestamps(
    steps: list[tuple[int, int, int, float, bool]],
) -> None:
    """The steps include gaps of all lengths: without a delay, with a delay, and long enough to
    restart the stream.
    """
    measured, true, at_ns, true_ns, largest_ns = PlayoutQueue(), PlayoutQueue(), GAP_NS * 10, 0, 0
    for wait_ms, length_ms, error_ms, share, clears in steps:
        at_ns, error_ns = at_ns + wait_ms * MS, error_ms * MS
        true_ns, largest_ns = (
            max(true_ns, at_ns - round(share * error_ns)),
            max(largest_ns, error_ns),
        )
        if clears:
            measured.clear(at_ns, error_ns)
            true.clear(true_ns)
            continue
        heard_ns, bound_ns = measured.play(at_ns, length_ms * MS, error_ns)
        really_ns, _ = true.play(true_ns, length_ms * MS)

        assert heard_ns - bound_ns <= really_ns <= heard_ns
        assert bound_ns <= 3 * largest_ns


def test_a_late_frame_delays_no_later_frame_and_a_long_gap_restarts_the_stream() -> None:
    def second(gap_ms: int) -> int:
        """Return the delay in ms of frames that arrive together after a gap."""
        playout = PlayoutQueue()
        playout.play(GAP_NS * 10, FRAME_NS)
        at_ns = GAP_NS * 10 + FRAME_NS + gap_ms * MS
        for _ in range(10):
            playout.play(at_ns, FRAME_NS)
        return (playout.play(at_ns, FRAME_NS).at_ns - GAP_NS * 10 - 11 * FRAME_NS) // MS

    assert [second(gap_ms) for gap_ms in (0, 50, 100, 120, 150, 200, 300)] == [
        0,
        0,
        0,
        40,
        100,
        200,
        300,
    ]


def test_slightly_slow_frames_add_no_uncertainty_in_two_minutes() -> None:
    """A frame arrives every 20.2 ms, and the uncertainty of timestamps is 0.1 ms. After two
    minutes, when the frames have fallen 1.2 s behind, a reply begins.
    """
    detector, error_ns, count = (
        ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True),
        MS // 10,
        2 * 60 * 50,
    )
    silent, loud = (
        bytes(640),
        PCM16_16K.encode(np.tile(np.repeat(np.array([3_000, -3_000], np.int16), 40), 4)),
    )
    found = list[tuple[ServerEvent, Arrival]]()
    for number, at_ns in enumerate(evenly(20_200_000, count + 10)):
        arrival = Arrival(at_ns, error_ns)
        events = detector.detect_replies(
            PCM.decode(BinaryMessage(loud if number >= count else silent)), arrival
        )
        found += [
            (event, came)
            for event, came in detector.events_in(events, arrival)
            if event.response_id
        ]

    (first, came), *_ = found
    assert came.at_ns == GAP_NS * 10 + count * 20_200_000
    assert isinstance(first.payload, StrippedAudio)
    assert first.payload.place == PlayoutPosition(delay_ns=0, uncertainty_ns=error_ns, uneven_ns=0)
