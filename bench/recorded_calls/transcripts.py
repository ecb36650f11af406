"""The words of a recorded call, from a JSON file with times. Pure.

These forms are known:

- Twilio, Conversational Intelligence, "Transcript Sentence": `sentences`, with `media_channel` from
  1
- Azure Speech, batch transcription: `recognizedPhrases`, with `channel` from 0 and ticks of 100 ns
- Azure Speech, fast transcription: `phrases`, with `channel` from 0
- Deepgram: `results.utterances`, with `channel` from 0
- LiveKit Agents, session report: `chat_history.items`, or `items`, with `role`
- Pipecat, `TranscriptProcessor`: a list of messages with `role` and `timestamp`
- a list, or `segments`, of objects with `start`, `end`, `text` and `role`

Times of day count from the first message of the caller, which is then the caller's first utterance.

A transcript with roles also shows which channel is the caller's. Its clock may differ from that of
the recording, and some frameworks state only one time for each message. So the words of both roles
are compared with the sounds of both channels at each offset. Nothing is concluded if both orders of
the channels agree about equally.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.files.sanitize import excerpt
from bench.plan.recordings import SpeechSpan
from bench.recorded_calls.conversation import ChannelSound

# Forms are known by the keys of their outermost object. A form is read as far as it is needed here,
# and whatever is missing or of another type makes the whole file unknown (`UnknownFormError`). A
# transcript that is half understood would give wrong word error rates.
TICKS_PER_S = 10_000_000
MIN_EPOCH_S = 100_000_000
"""The smallest time that counts as a time of day. A position in a call is smaller."""
MAX_TIME_S = 1e11
"""The largest time: the year 5138."""
AROUND_S = 1.0
"""The maximum distance between words and the speech to which they belong."""
STEPS_PER_S = 20
"""The resolution with which words are compared with sounds."""
MAX_OFFSET_S = 3
"""The maximum offset of times that are positions in the call. Times of day may have any offset."""
MIN_AGREEMENT = 0.5
MIN_DISTANCE = 0.25
"""The minimum agreement of swapped channels with the words, and its minimum distance to that of
the other order."""
KNOWN_FORMS = (
    "Twilio's sentences, Azure's phrases, Deepgram's utterances, or messages of LiveKit Agents or"
    " Pipecat"
)
ROLES: Mapping[str, Literal["caller", "agent"]] = {
    **dict.fromkeys(("user", "caller", "customer", "human"), "caller"),
    **dict.fromkeys(("assistant", "agent", "bot", "ai"), "agent"),
}


class Phrase(NamedTuple):
    """Words of one side, with their position in the call in seconds. `channel` counts from 1;
    `role` may replace it.
    """

    start_s: float
    end_s: float
    text: str
    channel: int | None = None
    role: Literal["caller", "agent"] | None = None


class UnknownFormError(ValueError):
    """The JSON has none of the known forms."""


def phrases(document: Any) -> list[Phrase]:
    """Return the phrases of a transcript in order. Raise UnknownFormError if it has none of the
    known forms.
    """
    try:
        # a file of another form fails at its first missing key
        found = [phrase for phrase in _phrases(document) if phrase.text.strip()]
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise UnknownFormError(excerpt(f"{type(error).__name__}: {error}", 100)) from None
    if not found:
        raise UnknownFormError("it has no words with times")
    if all(phrase.role is None and phrase.channel is None for phrase in found):
        raise UnknownFormError("it does not state who speaks")
    return sorted(found, key=lambda phrase: phrase[:3])


class SideWords:
    def __init__(
        self, found: Sequence[Phrase], whose: Literal["caller", "agent"], caller_channel: int
    ) -> None:
        spoken = (phrase for phrase in found if _side(phrase, caller_channel) == whose)
        self._texts = sorted(
            ((phrase.start_s + phrase.end_s) / 2, number, phrase.text.strip())
            for number, phrase in enumerate(spoken)
        )
        """The middle of each phrase in seconds, its number in the order of the transcript, and
        its text."""

    def text_in(self, span: SpeechSpan, rate_hz: int) -> str:
        """Return the words that were spoken in a part of the call; "" if there are none."""
        # by their middle: the ends of phrases are less exact than the edges of sounds
        first = bisect_left(self._texts, span.begin / rate_hz - AROUND_S, key=itemgetter(0))
        last = bisect_right(self._texts, span.end / rate_hz + AROUND_S, key=itemgetter(0))
        return " ".join(text for _, _, text in sorted(self._texts[first:last], key=itemgetter(1)))


def aligned(found: Sequence[Phrase], first_s: float, caller_channel: int) -> list[Phrase]:
    """Return phrases with times from the start of the call, in which the caller first speaks at
    `first_s`.
    """
    first = next((phrase for phrase in found if _side(phrase, caller_channel) == "caller"), None)
    if first is None or first.start_s < MIN_EPOCH_S:
        return list(found)
    shift_s = first_s - first.start_s
    return [
        phrase._replace(start_s=phrase.start_s + shift_s, end_s=phrase.end_s + shift_s)
        for phrase in found
    ]


def _side(phrase: Phrase, caller_channel: int) -> Literal["caller", "agent"] | None:
    if phrase.role is not None or phrase.channel is None:
        return phrase.role
    return "caller" if phrase.channel == caller_channel else "agent"


def _phrases(document: Any) -> Iterator[Phrase]:
    if isinstance(document, list):
        yield from map(_message, document)
    elif "sentences" in document:
        for entry in document["sentences"]:
            start_s = _seconds(entry["start_time"])
            yield Phrase(
                start_s,
                _seconds(entry["end_time"]),
                entry["transcript"],
                int(entry["media_channel"]),
            )
    elif "recognizedPhrases" in document:
        for entry in document["recognizedPhrases"]:
            if entry.get("recognitionStatus", "Success") == "Success":
                start_s = _seconds(entry["offsetInTicks"]) / TICKS_PER_S
                end_s = start_s + _seconds(entry["durationInTicks"]) / TICKS_PER_S
                yield Phrase(
                    start_s, end_s, entry["nBest"][0]["display"], int(entry["channel"]) + 1
                )
    elif "phrases" in document:
        for entry in document["phrases"]:
            start_s = _seconds(entry["offsetMilliseconds"]) / 1_000
            end_s = start_s + _seconds(entry["durationMilliseconds"]) / 1_000
            yield Phrase(start_s, end_s, entry["text"], int(entry["channel"]) + 1)
    elif "results" in document:
        for entry in document["results"]["utterances"]:
            channel = int(entry["channel"]) + 1
            yield Phrase(
                _seconds(entry["start"]), _seconds(entry["end"]), entry["transcript"], channel
            )
    else:
        history = document.get("chat_history", document)
        listed = history.get("items", history.get("segments", history.get("messages")))
        yield from (
            _message(entry) for entry in listed if entry.get("type", "message") == "message"
        )


def _message(entry: Mapping[str, Any]) -> Phrase:
    metrics = entry.get("metrics") or {}
    starts = (
        metrics.get("started_speaking_at"),
        *map(entry.get, ("start", "start_time", "timestamp", "created_at")),
    )
    start_s = _seconds(next((value for value in starts if value is not None), None))
    ends = (metrics.get("stopped_speaking_at"), *map(entry.get, ("end", "end_time")))
    end_s = next((_seconds(value) for value in ends if value is not None), start_s)
    text = entry.get("text") or entry.get("content") or entry.get("transcript") or ""
    if isinstance(text, list):
        text = " ".join(part for part in text if isinstance(part, str))
    role = ROLES.get(str(entry.get("role") or entry.get("speaker") or "").lower())
    return Phrase(start_s, max(start_s, end_s), text, None, role)


def _seconds(value: object) -> float:
    """Return a time in seconds. A time of day counts from 1970."""
    if isinstance(value, str) and ("T" in value or ":" in value):
        return datetime.fromisoformat(value).timestamp()
    if (
        isinstance(value, int | float | str)
        and not isinstance(value, bool)
        and abs(seconds := float(value)) <= MAX_TIME_S  # False for NaN
    ):
        return seconds
    raise TypeError("a time is missing, or not possible")


# `sounding` is 1 where only the caller's channel sounds, −1 where only the agent's does, and 0
# elsewhere. The correlation with the words of a role is then the agreement of this role at every
# offset at once, and with the channels swapped it has the other sign. A message with a single time
# may state its start or its end, and frameworks differ, perhaps also between roles. So both are
# tried for each role.
#
# The caller's channel decides which voice is measured. A wrong answer would exchange caller and
# agent in all values, so the swapped order must be clearly better.
def are_swapped(
    found: Sequence[Phrase],
    caller: Sequence[ChannelSound],
    agent: Sequence[ChannelSound],
    rate_hz: int,
) -> bool:
    """Return whether the words of both roles lie in the channel of the other role.

    The agreement of a role is the share of the time of its words in which its channel sounds, minus
    the share in which the other channel sounds. The agreement of a call is the smaller one of both
    roles, at the best offset.
    """
    spoken = [phrase for phrase in found if phrase.role is not None]
    if len({phrase.role for phrase in spoken}) < 2:
        return False
    both = (*caller, *agent)
    sounding = np.zeros(max(sound.end for sound in both) * STEPS_PER_S // rate_hz + 1)
    for sounds, sign in ((caller, 1), (agent, -1)):
        for sound in sounds:
            sounding[
                sound.start * STEPS_PER_S // rate_hz : sound.end * STEPS_PER_S // rate_hz + 1
            ] += sign
    letters = sum(len(phrase.text) for phrase in spoken)
    letter_s = sum(sound.end - sound.start for sound in both) / rate_hz / letters
    callers, agents = (
        [_agreements(spoken, role, sounding, letter_s, ends=ends) for ends in (False, True)]
        for role in ("caller", "agent")
    )
    pairs = [(of_caller, -of_agent) for of_caller, of_agent in product(callers, agents)]
    right = max(float(np.minimum(*pair).max()) for pair in pairs)
    swapped = max(float(np.minimum(-pair[0], -pair[1]).max()) for pair in pairs)
    return swapped >= max(MIN_AGREEMENT, right + MIN_DISTANCE)


def _agreements(
    spoken: Sequence[Phrase],
    role: Literal["caller", "agent"],
    sounding: NDArray[np.float64],
    letter_s: float,
    *,
    ends: bool,
) -> NDArray[np.float64]:
    """Return the agreement of the words of a role with the caller's channel, at each offset.

    `letter_s` is the mean duration of a letter. It gives the duration of words of which one time is
    known: their start, or their end if `ends` is True.
    """
    first_s = min(phrase.start_s for phrase in spoken)
    limit = len(sounding)
    is_time_of_day = first_s >= MIN_EPOCH_S
    origin_s = first_s if is_time_of_day else 0.0
    said = np.zeros(2 * limit)
    for phrase in spoken:
        if phrase.role == role:
            start_s = phrase.start_s - origin_s
            end_s = phrase.end_s - origin_s
            if start_s == end_s:
                length_s = len(phrase.text) * letter_s
                start_s, end_s = (
                    (start_s - length_s, end_s) if ends else (start_s, end_s + length_s)
                )
            said[max(0, round(start_s * STEPS_PER_S)) : max(0, round(end_s * STEPS_PER_S))] = 1
    # long enough that no offset wraps; negative offsets are at the end of the result
    size = 4 * limit
    spectrum = np.fft.rfft(sounding, size) * np.fft.rfft(said, size).conj()
    products: NDArray[np.float64] = np.fft.irfft(spectrum, size) / max(1.0, said.sum())
    if is_time_of_day:
        return products
    reach = MAX_OFFSET_S * STEPS_PER_S
    return np.concatenate([products[: reach + 1], products[-reach:]])
