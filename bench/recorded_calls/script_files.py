"""The script of a recorded call: a YAML file, and a WAV for each utterance of the caller."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.errors import UsageError
from bench.catalogue.words import normalized_words
from bench.files.sanitize import slug
from bench.files.yaml_file import yaml_text
from bench.plan.recordings import MAX_MINUTES, RATE_HZ, resampled, write_wav
from bench.recorded_calls.channels import RecordedCall
from bench.recorded_calls.conversation import CallerUtterance, RecordedConversation, Speech, speech
from bench.wire.audio import PCM16

# A script must lead to the same conversation with another agent, whose replies have other lengths.
# So nothing in it is an instant of the recording. Pauses are relative to the end of a reply, and
# interruptions to its start.
LEAD_S = 0.2
"""The audio of a WAV before the first sound and after the last one. It contains the quiet edges
of words."""
CHUNK_MS = 20
"""The duration of a message. Telephony providers send messages of this duration."""


@dataclass(frozen=True)
class RecordedUtterance:
    """An utterance of the caller with its WAV.

    `name` is the name of its step. `speech` is the position of its speech in the call, and `start`
    and `end` are those of its WAV, all in samples of the call.
    """

    name: str
    utterance: CallerUtterance
    speech: Speech
    start: int
    end: int


def recorded_utterances(call: RecordedCall, talk: RecordedConversation) -> list[RecordedUtterance]:
    """Return the utterances of a call in order. Their WAVs do not overlap."""
    rate_hz = call.audio.rate_hz
    lead = round(LEAD_S * call.audio.rate_hz)
    recorded: list[RecordedUtterance] = []
    for number, utterance in enumerate(talk.utterances, 1):
        until = min(utterance.end + lead, utterance.until)
        # may have an echo
        answers = (sound.start for sound in call.agent_sounds if sound.end > utterance.end)
        silent_until = max(until, min(utterance.until, next(answers, utterance.until)))
        found = speech(call.caller, rate_hz, utterance.span, until, silent_until)
        found = found._replace(uncertainty_ns=found.uncertainty_ns + call.audio.codec_errors.end_ns)
        earliest = recorded[-1].end if recorded else 0
        # A turn that started before the end of the reply would seem to interrupt it. An
        # interruption needs a reply.
        limit = utterance.reply_end if utterance.kind == "turn" else utterance.reply_start
        earliest = max(earliest, limit or 0)
        start = max(utterance.start - lead, min(utterance.start, earliest))
        if (minutes := (until - start) / rate_hz / 60) > MAX_MINUTES:
            raise UsageError(
                f"{call.path}: the caller speaks for {minutes:.1f} minutes without an answer, the"
                f" maximum is {MAX_MINUTES}: cut the call before or after it"
            )
        recorded.append(
            RecordedUtterance(f"{utterance.kind}-{number}", utterance, found, start, until)
        )
    return recorded


def write_script(
    call: RecordedCall,
    talk: RecordedConversation,
    utterances: Sequence[RecordedUtterance],
    folder: Path,
    session: Mapping[str, Any],
    words: Mapping[str, str],
) -> Path:
    """Write the script and the WAVs of a call into `folder`. Return the path FOLDER/NAME.yaml; the
    WAVs are in FOLDER/NAME.

    `session` are the settings of the session. `words` has the caller's words in each step, if they
    are known. Raise UsageError if a file cannot be written.
    """
    name = _free_name(folder, call.path)
    path = folder / f"{name}.yaml"
    audio = folder / name
    rate_hz = call.audio.rate_hz
    try:
        audio.mkdir(parents=True)
        for recorded in utterances:
            samples = np.ascontiguousarray(call.caller[recorded.start : recorded.end])
            write_wav(
                audio / f"{recorded.name}.wav",
                PCM16.encode(resampled(samples, rate_hz, RATE_HZ)),
                PCM16,
            )
        script = {
            "session": dict(session),
            "recorded_call": True,
            "jitter_buffer_ms": 0,
            "reply_silence_ms": round(talk.reply_silence_s * 1_000),
            "steps": list(_steps(call, talk, utterances, name, words)),
        }
        head = (
            "# yaml-language-server: $schema=script.schema.json\n# The caller of the recorded call"
            f" {slug(call.path.name)}, as rtbench runs import found it.\n"
            f"# audio {audio_digest(call)}\n"
        )
        path.write_text(head + yaml_text(script), encoding="utf-8")
    except BaseException as error:
        remove_script(path)
        if isinstance(error, OSError):
            problem = f"{path} cannot be written: {error.strerror}"
            raise UsageError(f"{problem}; name another folder with --out") from None
        raise
    return path


DIGEST_CHARACTERS = 16
HEAD_CHARACTERS = 1_000
DIGESTED_SAMPLES = 1 << 20
_DIGEST = re.compile(rf"^# audio ([0-9a-f]{{{DIGEST_CHARACTERS}}})$", re.MULTILINE)


def audio_digest(call: RecordedCall) -> str:
    """Return the digest of a call's audio, by which a later import recognizes the call."""
    digest = hashlib.sha256()
    for samples in (call.caller, call.agent):
        for start in range(0, len(samples), DIGESTED_SAMPLES):
            digest.update(samples[start : start + DIGESTED_SAMPLES].tobytes())
    return digest.hexdigest()[:DIGEST_CHARACTERS]


def imported_calls(folder: Path) -> dict[str, Path]:
    """Return the scripts that earlier imports wrote into a folder, by the digest of the call's
    audio.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            if digest := _DIGEST.search(file.read(HEAD_CHARACTERS)):
                found[digest[1]] = path
    return found


def remove_script(path: Path) -> None:
    """Remove a script and its WAVs, so that no script remains of a call that is left out."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def _free_name(folder: Path, recording: Path) -> str:
    """Return a new name. It does not start with a dot, because a shell's `*.yaml` does not match
    such a name.
    """
    stem = slug(recording.stem).lstrip(".") or "call"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    return next(
        name
        for name in names
        if not os.path.lexists(folder / name) and not os.path.lexists(folder / f"{name}.yaml")
    )


def _steps(
    call: RecordedCall,
    talk: RecordedConversation,
    utterances: Sequence[RecordedUtterance],
    name: str,
    words: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    rate_hz = call.audio.rate_hz
    if talk.greets:
        yield {"wait_for": "greeting", "name": "greeting"}
    for recorded in utterances:
        wav = f"{name}/{recorded.name}.wav"
        utterance = recorded.utterance
        begins = (
            (recorded.start - utterance.reply_start) / rate_hz
            if utterance.reply_start is not None
            else 0.0
        )
        edges = {"start": recorded.speech.start, "end": recorded.speech.end}
        span = {
            name: (at - recorded.start) * 1_000_000 // rate_hz / 1_000_000
            for name, at in edges.items()
        }
        text = words.get(recorded.name, "")
        spoken = {"transcript": text} if normalized_words(text) else {}
        if utterance.kind == "turn":
            # a player waits for the silence that ends the reply, and then for this pause
            silent_s = (
                0.0
                if utterance.reply_end is None
                else (recorded.start - utterance.reply_end) / rate_hz
            )
            if (pause_s := silent_s - talk.reply_silence_s) >= 0.05:
                yield {"pause": round(pause_s, 2)}
            yield {
                "audio": wav,
                "name": recorded.name,
                "speech": span,
                "chunk_ms": CHUNK_MS,
                **spoken,
            }
        elif utterance.kind == "interruption":
            settings = {"after": round(max(0.0, begins), 3), "audio": wav, "speech": span}
            yield {"interrupt": settings, "name": recorded.name, "chunk_ms": CHUNK_MS}
        else:
            settings = {
                "kind": "backchannel",
                "after": round(max(0.0, begins), 3),
                "audio": wav,
                "chunk_ms": CHUNK_MS,
            }
            yield {"sound": settings}
