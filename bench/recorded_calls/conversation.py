"""The turns of a recorded call, from the sounds of both channels. Pure.

A turn of the caller consists of all its sounds until the agent starts to speak, or until a pause of `MAX_PAUSE_S`. If
the caller starts while the agent speaks, the speech is an interruption. It is a backchannel if it is short and the
agent continues after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from bench.base.units import NS_PER_S
from bench.catalogue.timeouts import REPLY_SILENCE_MS
from bench.observe.onsets import PAUSE_NS
from bench.observe.reply_detector import SILENCE_NS
from bench.plan.recordings import SpeechSpan
from bench.recorded_calls.sounds import ChannelSound

MAX_PAUSE_S = 3.0
"""The maximum pause within a turn of the caller. Before a longer pause is a turn without an answer."""
BACKCHANNEL_S = 1.0
"""The maximum duration of a backchannel, such as "uh-huh"."""
CONTINUES_S = 0.5
"""The minimum time for which the agent continues after a backchannel."""
SENTENCE_PAUSE_S = 0.5
"""The maximum pause in a sentence of the agent. One that stops for the caller waits for the end of speech."""
IGNORES_S = 1.0
"""The time for which the agent continues after a short utterance, until it has certainly ignored the utterance."""
MAX_REPLY_PAUSE_S = 10.0
"""The maximum pause within a reply of the agent. Speech after a longer pause does not belong to the reply."""
SPARE_S = 0.3
"""The time that is added to the longest pause within a reply, because the replies of other calls differ."""

Kind = Literal["turn", "interruption", "backchannel"]


@dataclass(frozen=True)
class CallerUtterance:
    """Speech of the caller, as positions in the recording, in samples.

    `start` and `end` are the start of its first sound and the end of its last one. `until` is the start of the caller's
    next sound, or the end of the recording. `reply_start` and `reply_end` are the start and the end of the agent's
    speech before this utterance; None if there is none since the last utterance. `answered` is True if the agent speaks
    after it.
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

    `greets` is True if the agent speaks first. `reply_silence_s` is the silence that certainly ends a reply.
    `late_speeches` is the number of times that the agent spoke again after a longer silence. `unanswered` is True if
    the last utterance, which is not in `utterances`, was not answered.
    """

    greets: bool
    utterances: tuple[CallerUtterance, ...]
    reply_silence_s: float
    late_speeches: int
    unanswered: bool


def conversation(
    caller: Sequence[ChannelSound], agent: Sequence[ChannelSound], rate_hz: int, length: int
) -> RecordedConversation:
    """Return the turns of a call of `length` samples. `caller` and `agent` are the sounds of each channel."""
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
    return RecordedConversation(greets, tuple(utterances), silence_s, len(pauses) - len(within), unanswered)


def without_greeting(talk: RecordedConversation) -> RecordedConversation:
    """Return the turns of a script that does not wait for the greeting. What was said over the greeting is a turn."""
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


def _grouped(caller: Sequence[ChannelSound], agent: Sequence[ChannelSound], rate_hz: int) -> list[list[ChannelSound]]:
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
    """Return whether a sound of the caller does not belong to the utterance whose sounds are `group`."""
    start, last = group[0].start, group[-1]
    if sound.start - last.end > MAX_PAUSE_S * rate_hz:
        return True
    if any(last.start < spoken.start < sound.start and spoken.end > last.end for spoken in agent):
        return True
    over = _interrupted(agent, start, last.end, rate_hz)
    is_ignored = over is not None and over.end >= sound.start >= last.end + IGNORES_S * rate_hz
    return is_ignored and last.end - start <= BACKCHANNEL_S * rate_hz


def _utterances(
    groups: Sequence[Sequence[ChannelSound]], agent: Sequence[ChannelSound], rate_hz: int, length: int
) -> Iterator[CallerUtterance]:
    previous_end = 0
    for number, group in enumerate(groups):
        start, end = group[0].start, group[-1].end
        following = groups[number + 1][0].start if number + 1 < len(groups) else length
        before = [spoken for spoken in agent if spoken.start < start and spoken.end > previous_end]
        over = _interrupted(agent, start, end, rate_hz)
        kind: Kind = "turn"
        if over is not None:
            is_short = end - start <= BACKCHANNEL_S * rate_hz
            kind = "backchannel" if is_short and over.end - end >= CONTINUES_S * rate_hz else "interruption"
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


def _interrupted(agent: Sequence[ChannelSound], start: int, end: int, rate_hz: int) -> ChannelSound | None:
    """Return the agent's sound over which an utterance starts; None if the agent is silent.

    An utterance may start in a pause within a sentence of the agent. Then it interrupts the sound after the pause.
    """
    for spoken in agent:
        if spoken.start < start < spoken.end:
            return spoken
    max_pause = rate_hz * SILENCE_NS // NS_PER_S
    pauses = ((first.end, second) for first, second in pairwise(agent) if second.start - first.end < max_pause)
    return next((second for paused, second in pauses if paused <= start < second.start < end), None)


def _reply_pauses(
    utterances: Sequence[CallerUtterance], agent: Sequence[ChannelSound], rate_hz: int
) -> Iterator[float]:
    """Yield the duration of each pause in the agent's speech in which the caller does not speak."""
    for first, second in pairwise(agent):
        quiet_from = first.end - rate_hz * PAUSE_NS // NS_PER_S
        if not any(spoken.start < second.start and spoken.end > quiet_from for spoken in utterances):
            yield (second.start - first.end) / rate_hz
