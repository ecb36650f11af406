"""The sounds in the channels of a recorded call, the speech within them, and the turns that they
make. Pure.

The starts of sounds come from the detector that also listens to live agents
(`bench.sound.onsets`). The end of a caller's speech is searched as in the recordings of a script
(`bench.plan.recordings.speech_span`). In noise the end of speech is below the noise, so the end
that is found may be too early. `TAILS_NS` has the maximum errors. The noise is that around the
sound, or that after it if it is louder. The room may be heard for longer than the voice, as behind
a noise gate. So the bound covers what is quiet at the end of speech, unless it is certainly a voice
(`bench.sound.ends`).

A turn of the caller consists of all its sounds until the agent starts to speak, or until a pause of
`MAX_PAUSE_S`. If the caller starts while the agent speaks, the speech is an interruption. It is a
backchannel if it is short and the agent continues after it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.timeouts import REPLY_SILENCE_MS
from bench.observe.reply_detector import SILENCE_NS
from bench.plan.recordings import (
    ABOVE_NOISE,
    DEPTH,
    NEAR_MS,
    WINDOW_MS,
    SampleSequence,
    SpeechSpan,
    mean_squares,
    speech_level,
    speech_span,
    window_energies,
)
from bench.sound.direct_current import without_direct_current
from bench.sound.ends import fades, quiet_end
from bench.sound.onset_limits import BLOCK_MS, DITHER, END, error_in_noise
from bench.sound.onsets import PAUSE_NS, OnsetDetector
from bench.sound.tones import RATE_HZ, Tone
from bench.wire.audio import Samples

FLUSH_S = 1
"""The silence after a channel, with which the detector ends its last sound."""
NOISE_QUANTILE = 0.2
"""The quantile of the energies around a sound that is the energy of the background."""
AROUND_S = 3.0
MIN_OUTSIDE_MS = 300
"""The minimum duration around a sound from which its background is known."""
EDGE_MS = 100
AFTER_MS = 1_000
"""The part of the time after speech in which noise is searched."""
PEAK = 10 ** (1 / 10)
"""The minimum distance of speech above the loudest window of the noise after it: 1 dB, as a
ratio of energies."""
STOPPED_MS = 200
"""The silence after a quiet sound that shows that it was no background."""
CERTAIN = 10 ** (11 / 10)
"""The distance below the level of speech down to which a sound is certainly speech: 11 dB, as a
ratio of energies."""
EXACT_MS = 2
"""The precision of an end of speech before digital silence."""
FAR_BELOW = 10
"""The minimum distance of the noise after speech below the quietest speech, 10 dB as a ratio of
energies, from which no moment of it is as loud."""
TAILS_NS = (
    (4_000, 90 * NS_PER_MS),
    (1_000, 300 * NS_PER_MS),
    (300, 500 * NS_PER_MS),
    (100, 600 * NS_PER_MS),
    (30, 1_100 * NS_PER_MS),
    (10, 2_500 * NS_PER_MS),
    (0, 4_500 * NS_PER_MS),
)
"""The maximum errors of the end of speech in noise, in descending order of loudness.

Each entry is (minimum ratio of energies, maximum error in ns). The ratio is the level of the
speech, divided by the energy of the background. Speech less than 15 dB above it may lose its last
words. `make benchmark PARTS=voices` measures them with recorded voices in white, pink and brown
noise: 1 of 200 errors is larger.
"""


class ChannelSound(NamedTuple):
    """A sound without a pause, in samples. It may really have started up to `uncertainty_ns`
    earlier.
    """

    start: int
    end: int
    uncertainty_ns: int


class Speech(NamedTuple):
    """Speech in samples. Its real end is within `uncertainty_ns`, mostly later: below noise,
    which may lengthen it.
    """

    start: int
    end: int
    uncertainty_ns: int


def sounds(
    samples: SampleSequence, rate_hz: int, *, keys_count: bool = False
) -> list[ChannelSound]:
    """Return all sounds in one channel, in order. With `keys_count`, a phone key is a sound."""
    return sounds_and_tones(samples, rate_hz, keys_count=keys_count)[0]


def sounds_and_tones(
    samples: SampleSequence, rate_hz: int, *, keys_count: bool = False
) -> tuple[list[ChannelSound], list[Tone]]:
    """Return the sounds of `sounds`, and all telephone tones in the channel."""
    detector = OnsetDetector(rate_hz, keys_count=keys_count)
    found = list[ChannelSound]()
    start = None
    until = 0
    uncertainty_ns = 0
    padded = len(samples) + FLUSH_S * rate_hz
    for position in range(0, padded, rate_hz):
        piece = samples[position : position + rate_hz]
        piece = np.pad(piece, (0, min(rate_hz, padded - position) - len(piece)))
        for what, back, error_ns in detector.add(piece):
            at = position + len(piece) - back
            if what == "begins":
                start = at
                uncertainty_ns = error_ns
            elif what == "sounds":
                until = at
                uncertainty_ns = error_ns
            elif start is not None:
                found.append(ChannelSound(start, min(at, len(samples)), uncertainty_ns))
                start = None
    if start is not None:
        found.append(ChannelSound(start, min(until, len(samples)), uncertainty_ns))
    return found, detector.tones


def speech(
    samples: SampleSequence, rate_hz: int, found: SpeechSpan, until: int, limit: int
) -> Speech:
    """Return the speech in the sounds `found`, which ends before `until`. No other sound follows
    before `limit`.
    """
    margin = round(AROUND_S * rate_hz)
    per_ms = rate_hz // 1_000
    origin = max(0, found.begin - margin)
    read = without_direct_current(samples[origin : max(found.end + margin, until)], rate_hz)
    begin = found.begin - origin
    end = found.end - origin
    around = window_energies(read[: end + margin], per_ms)
    # a long voice is no background
    outside = np.append(around[: begin // per_ms], around[end // per_ms + EDGE_MS :])
    noise = float(
        np.quantile(outside if len(outside) >= MIN_OUTSIDE_MS else around, NOISE_QUANTILE)
    )
    # what follows the quiet edge of the last word is noise, even if there was none before
    after = read[end + EDGE_MS * per_ms : min(limit - origin, end + AFTER_MS * per_ms)]
    loudest = _loudest(after, per_ms)
    level = speech_level(read[begin : until - origin], rate_hz)
    changed_ns = 0
    if loudest * PEAK > max(noise * ABOVE_NOISE, level / DEPTH):
        changed_ns = max(WINDOW_MS, _stops_ms(after, per_ms, level)) * NS_PER_MS
        noise = loudest * PEAK / ABOVE_NOISE
        until = min(until, found.end + WINDOW_MS * per_ms)
    segment = read[begin : until - origin]
    span = speech_span(segment, rate_hz, min_energy=noise * ABOVE_NOISE)
    words = speech_span(segment, rate_hz, min_energy=noise * ABOVE_NOISE, far_ms=NEAR_MS)
    click_ns = max(0, span.end - words.end) * NS_PER_S // rate_hz
    quiet = quiet_end(_powers(segment[: span.end], rate_hz), level / CERTAIN)
    error_ns = quiet * BLOCK_MS * NS_PER_MS
    if noise * ABOVE_NOISE > level / DEPTH:
        error_ns = max(error_ns, changed_ns + error_in_noise(TAILS_NS, level, noise))
    elif loudest * FAR_BELOW >= level / DEPTH:  # a window with the last word also has noise
        error_ns = max(error_ns, changed_ns + WINDOW_MS * NS_PER_MS)
    else:
        error_ns = _edge_ns(segment, rate_hz, span.end, error_ns)
    return Speech(found.begin, found.begin + span.end, max(error_ns, click_ns))


def _edge_ns(segment: Samples, rate_hz: int, end: int, quiet_ns: int) -> int:
    """Return the error of the end of speech before silence. The speech has been quiet for
    `quiet_ns`.
    """
    tail = segment[end - quiet_ns * rate_hz // NS_PER_S : end : rate_hz // RATE_HZ]
    is_short = quiet_ns < END.quiet_blocks * BLOCK_MS * NS_PER_MS
    if not is_short and not fades(tail):
        return quiet_ns
    rest = np.append(segment[end + EXACT_MS * rate_hz // 1_000 :], 0)
    heard_ns = (2 if is_short else 1) * WINDOW_MS * NS_PER_MS
    return heard_ns if np.ptp(rest) > DITHER else 0


def _powers(samples: Samples, rate_hz: int) -> list[float]:
    """Return the mean square of each of the last blocks of samples."""
    size = rate_hz * BLOCK_MS // 1_000
    return list(mean_squares(samples[len(samples) % size :], size))


def _loudest(samples: Samples, per_ms: int) -> float:
    """Return the energy of the loudest window in samples; 0 if they are shorter than a window."""
    if not len(samples):
        return 0.0
    return float(window_energies(samples, per_ms)[WINDOW_MS - 1 : 1 - WINDOW_MS].max(initial=0))


def _stops_ms(after: Samples, per_ms: int, level: float) -> int:
    """Return how long after speech of this level the sound stops that may be its last word; 0 if
    it does not stop.
    """
    loud = np.flatnonzero(window_energies(after, per_ms)[: 1 - WINDOW_MS] >= level / DEPTH)
    return (
        EDGE_MS + int(loud[-1]) + 1
        if len(loud) and loud[-1] < len(after) // per_ms - STOPPED_MS
        else 0
    )


MAX_PAUSE_S = 3.0
"""The maximum pause within a turn of the caller. Before a longer pause is a turn without an
answer."""
BACKCHANNEL_S = 1.0
"""The maximum duration of a backchannel, such as "uh-huh"."""
CONTINUES_S = 0.5
"""The minimum time for which the agent continues after a backchannel."""
SENTENCE_PAUSE_S = 0.5
"""The maximum pause in a sentence of the agent. One that stops for the caller waits for the end
of speech."""
IGNORES_S = 1.0
"""The time for which the agent continues after a short utterance, until it has certainly ignored
the utterance."""
MAX_REPLY_PAUSE_S = 10.0
"""The maximum pause within a reply of the agent. Speech after a longer pause does not belong to
the reply."""
SPARE_S = 0.3
"""The time that is added to the longest pause within a reply, because the replies of other calls
differ."""

Kind = Literal["turn", "interruption", "backchannel"]


@dataclass(frozen=True)
class CallerUtterance:
    """Speech of the caller, as positions in the recording, in samples.

    `start` and `end` are the start of its first sound and the end of its last one. `until` is the
    start of the caller's next sound, or the end of the recording. `reply_start` and `reply_end` are
    the start and the end of the agent's speech before this utterance; None if there is none since
    the last utterance. `answered` is True if the agent speaks after it.
    """

    kind: Kind
    start: int
    end: int
    until: int
    reply_start: int | None
    reply_end: int | None
    answered: bool

    @property
    def span(self) -> SpeechSpan:
        return SpeechSpan(self.start, self.end)


@dataclass(frozen=True)
class RecordedConversation:
    """The turns of a call.

    `greets` is True if the agent speaks first. `reply_silence_s` is the silence that certainly ends
    a reply. `late_speeches` is the number of times that the agent spoke again after a longer
    silence. `unanswered` is True if the last utterance, which is not in `utterances`, was not
    answered.
    """

    greets: bool
    utterances: tuple[CallerUtterance, ...]
    reply_silence_s: float
    late_speeches: int
    unanswered: bool


# The sounds of both channels become turns in three passes. Sounds of the agent are joined to
# speeches, over the pauses within a sentence (`_speeches`). Sounds of the caller are joined to
# utterances, until the agent takes its turn (`_grouped`). Then each utterance is judged by what the
# agent does: it was silent (a turn), it was speaking and stopped (an interruption), or it was
# speaking and went on (a backchannel). The order matters: whether a pause ends an utterance depends
# on the speeches.
#
# The silence that ends a reply is derived from the call, too. It must be longer than each pause
# within its replies, otherwise a replay of the script would cut them.
def conversation(
    caller: Sequence[ChannelSound], agent: Sequence[ChannelSound], rate_hz: int, length: int
) -> RecordedConversation:
    """Return the turns of a call of `length` samples. `caller` and `agent` are the sounds of
    each channel.
    """
    speeches = _speeches(agent, rate_hz)
    groups = _grouped(caller, speeches, rate_hz)
    utterances = list(_utterances(groups, speeches, rate_hz, length))
    greets = bool(agent) and (not utterances or agent[0].start < utterances[0].start)
    pauses = list(_reply_pauses(utterances, agent, rate_hz))
    unanswered = bool(utterances) and not utterances[-1].answered
    if unanswered:
        utterances.pop()
    within = [pause_s for pause_s in pauses if pause_s <= MAX_REPLY_PAUSE_S]
    longest_s = max(within, default=0.0) + SPARE_S
    silence_s = max(REPLY_SILENCE_MS / 1_000, -(-longest_s * 10 // 1) / 10)
    return RecordedConversation(
        greets, tuple(utterances), silence_s, len(pauses) - len(within), unanswered
    )


def without_greeting(talk: RecordedConversation) -> RecordedConversation:
    """Return the turns of a script that does not wait for the greeting. What was said over the
    greeting is a turn.
    """
    first = tuple(replace(utterance, kind="turn") for utterance in talk.utterances[:1])
    return replace(talk, greets=False, utterances=(*first, *talk.utterances[1:]))


def _speeches(agent: Sequence[ChannelSound], rate_hz: int) -> list[ChannelSound]:
    """Return the agent's sounds, joined over the pauses within its sentences."""
    joined: list[ChannelSound] = []
    for sound in agent:
        if joined and sound.start - joined[-1].end <= SENTENCE_PAUSE_S * rate_hz:
            joined[-1] = joined[-1]._replace(end=sound.end)
        else:
            joined.append(sound)
    return joined


def _grouped(
    caller: Sequence[ChannelSound], agent: Sequence[ChannelSound], rate_hz: int
) -> list[list[ChannelSound]]:
    groups: list[list[ChannelSound]] = []
    for sound in caller:
        if groups and not _is_separate(groups[-1], sound, agent, rate_hz):
            groups[-1].append(sound)
        else:
            groups.append([sound])
    return groups


def _is_separate(
    group: Sequence[ChannelSound], sound: ChannelSound, agent: Sequence[ChannelSound], rate_hz: int
) -> bool:
    """Return whether a sound of the caller does not belong to the utterance whose sounds are
    `group`.
    """
    start = group[0].start
    last = group[-1]
    if sound.start - last.end > MAX_PAUSE_S * rate_hz:
        return True
    if any(last.start < spoken.start < sound.start and spoken.end > last.end for spoken in agent):
        return True
    over = _interrupted(agent, start, last.end, rate_hz)
    is_ignored = over is not None and over.end >= sound.start >= last.end + IGNORES_S * rate_hz
    return is_ignored and last.end - start <= BACKCHANNEL_S * rate_hz


def _utterances(
    groups: Sequence[Sequence[ChannelSound]],
    agent: Sequence[ChannelSound],
    rate_hz: int,
    length: int,
) -> Iterator[CallerUtterance]:
    previous_end = 0
    for number, group in enumerate(groups):
        start = group[0].start
        end = group[-1].end
        following = groups[number + 1][0].start if number + 1 < len(groups) else length
        before = [spoken for spoken in agent if spoken.start < start and spoken.end > previous_end]
        over = _interrupted(agent, start, end, rate_hz)
        kind: Kind = "turn"
        if over is not None:
            is_short = end - start <= BACKCHANNEL_S * rate_hz
            kind = (
                "backchannel"
                if is_short and over.end - end >= CONTINUES_S * rate_hz
                else "interruption"
            )
        yield CallerUtterance(
            kind=kind,
            start=start,
            end=end,
            until=following,
            reply_start=before[0].start if before else None,
            reply_end=max(spoken.end for spoken in before) if before else None,
            answered=any(start < spoken.start < following and spoken.end > end for spoken in agent)
            or (kind == "backchannel" and following < length),
        )
        if kind != "backchannel":
            previous_end = end


def _interrupted(
    agent: Sequence[ChannelSound], start: int, end: int, rate_hz: int
) -> ChannelSound | None:
    """Return the agent's sound over which an utterance starts; None if the agent is silent.

    An utterance may start in a pause within a sentence of the agent. Then it interrupts the sound
    after the pause.
    """
    for spoken in agent:
        if spoken.start < start < spoken.end:
            return spoken
    max_pause = rate_hz * SILENCE_NS // NS_PER_S
    pauses = (
        (first.end, second)
        for first, second in pairwise(agent)
        if second.start - first.end < max_pause
    )
    return next((second for paused, second in pauses if paused <= start < second.start < end), None)


def _reply_pauses(
    utterances: Sequence[CallerUtterance], agent: Sequence[ChannelSound], rate_hz: int
) -> Iterator[float]:
    """Yield the duration of each pause in the agent's speech in which the caller does not speak."""
    for first, second in pairwise(agent):
        quiet_from = first.end - rate_hz * PAUSE_NS // NS_PER_S
        if not any(
            spoken.start < second.start and spoken.end > quiet_from for spoken in utterances
        ):
            yield (second.start - first.end) / rate_hz
