"""The import of recorded calls: a script for each call, and one run folder with rows as of a
live run.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.files.safe_io import JsonError, read_file, read_json
from bench.load.planning.workload import facts_of_script
from bench.plan.script import load_script
from bench.plan.script_keys import load_wav
from bench.record import folder as files
from bench.record.document import RECORDING
from bench.record.finalize import finalize
from bench.record.provenance import opening_document
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from bench.recorded_calls.channels import (
    CallerChannel,
    RecordedCall,
    Remark,
    channel_number,
    read_call,
)
from bench.recorded_calls.conversation import (
    MAX_REPLY_PAUSE_S,
    RecordedConversation,
    conversation,
    without_greeting,
)
from bench.recorded_calls.playback import MeasuredCall, compiled_for_call, measure
from bench.recorded_calls.script_files import (
    RecordedUtterance,
    audio_digest,
    imported_calls,
    recorded_utterances,
    remove_script,
    write_script,
)
from bench.recorded_calls.transcripts import (
    KNOWN_FORMS,
    Phrase,
    SideWords,
    UnknownFormError,
    aligned,
    are_swapped,
    phrases,
)
from bench.wire.settings import FULL_DUPLEX

TARGET = "recorded"
NOTICE = (
    "RECORDED: these are recorded calls, not calls of this tool. Times of day are those of an"
    " import that played the calls one after another."
)
COMPARED = (
    "name",
    "scenario",
    "digest",
    "turns",
    "think_s",
    "chunk_ms",
    "output",
    "jitter_buffer_ms",
    "reply_silence_ms",
    "answer_min_ms",
)
"""The facts that a recorded call has, too. Dialect, formats and timeouts belong to a service."""
TARGET_ENTRY = {
    "name": TARGET,
    "url": "",
    "dialect": "pcm",
    "full_duplex": True,
    "service": RECORDING,
    "loopback": False,
}
"""The entry of the run's document that marks its target as a recording."""


@dataclass(frozen=True)
class ImportedCall:
    """A measured call and its script. `seconds` is the duration of the recording."""

    name: str
    source: str
    seconds: float
    facts: Mapping[str, Any]
    measured: MeasuredCall


@dataclass(frozen=True)
class ImportOptions:
    """The options of an import.

    `scripts_dir` is the folder of the scripts. `session` are the settings of their sessions.
    `transcript` is a JSON file, or a folder with a JSON file for each call. `source` is the lossy
    codec of the recordings before a conversion.
    """

    runs_dir: Path
    scripts_dir: Path
    name: str
    caller: CallerChannel
    session: Mapping[str, Any]
    transcript: Path | None = None
    source: str | None = None


@dataclass
class Import:
    """The result of an import. `refused` has one line for each call that was left out.

    `remarks` has one line for each property of a call that the user should know. `folder` is the
    run folder; None if no call was imported.
    """

    calls: int = 0
    turns: int = 0
    scripts: list[Path] = field(default_factory=list)
    """The scripts that the import wrote."""
    known: list[str] = field(default_factory=list)
    """One line for each call that an earlier import into the same folder had imported."""
    refused: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    folder: Path | None = None


# An import takes many files of unknown origin. No call ends the import of the others: each is
# imported, known from before, or refused with one line. A call whose import fails half-way leaves
# no script. The rows of all calls are written at the end, as one run. So an import that is killed
# leaves scripts without a run, and a second import into the same folder takes those calls for known
# ones.
#
# Calls are played one after another on the clock of the run, as if one caller had made them, so
# that instants of different calls do not overlap.
def import_calls(paths: Sequence[Path], options: ImportOptions) -> Import:
    """Import recorded calls. Raise UsageError if the run or the scripts cannot be written at
    all.
    """
    result = Import()
    calls = list[ImportedCall]()
    remarked = Counter[str]()
    files.make_parent(options.runs_dir)
    _prepare_folder(options.scripts_dir)
    if options.transcript is not None and os.path.isfile(options.transcript) and len(paths) > 1:
        raise UsageError(
            f"{options.transcript} has the words of one call, not of {len(paths)}: name a folder"
            " with CALL.json files"
        )
    start_ns = at_ns = monotonic_ns()
    named: dict[str, Path] = {}
    earlier = imported_calls(options.scripts_dir)
    for path in paths:
        try:
            if (file := os.path.realpath(path)) in named:
                raise UsageError(f"{path}: is the same file as {named[file]}, and counts once")
            named[file] = path
            call, remarks = _imported(path, options, at_ns, earlier)
        except AlreadyImportedError as error:
            result.known.append(str(error))
            continue
        except Exception as error:  # no file ends the import of the others
            result.refused.append(_refusal(path, error))
            continue
        calls.append(call)
        result.scripts.append(options.scripts_dir / f"{call.name}.yaml")
        at_ns += round(call.seconds * NS_PER_S)
        result.turns += len(call.measured.turns)
        remarked.update(remark.kind for remark in remarks)
        result.remarks += (f"{path}: {remark.text}" for remark in remarks)
    result.calls = len(calls)
    if calls:
        notices = [f"{count} of {len(calls)} calls: {kind}." for kind, count in remarked.items()]
        if result.refused:
            notices.insert(
                0, f"{len(result.refused)} of {len(paths)} recordings could not be imported."
            )
        transcripts = options.transcript is not None
        result.folder = write_run(
            options.runs_dir, options.name, calls, start_ns, notices, transcripts=transcripts
        )
    return result


def _refusal(path: Path, error: Exception) -> str:
    match error:
        case UsageError():
            return str(error)
        case MemoryError():
            return f"{path}: needs more memory than this machine has free: cut the file into parts"
        case OSError():
            reason = error.strerror or str(error) or type(error).__name__
            return (
                f"{path}: cannot be imported: {reason} (temporary files are in"
                f" {tempfile.gettempdir()})"
            )
    return (
        f"{path}: cannot be imported, because of an error of rtbench: {type(error).__name__}:"
        f" {error}; please report it"
    )


def _prepare_folder(folder: Path) -> None:
    """Make the folder of the scripts, if it does not exist. Raise UsageError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}; name another folder with --out"
        ) from None


class AlreadyImportedError(Exception):
    """A call whose script an earlier import wrote."""


def _imported(
    path: Path, options: ImportOptions, start_ns: int, earlier: Mapping[str, Path]
) -> tuple[ImportedCall, list[Remark]]:
    call = read_call(path, options.caller, options.source)
    if script := earlier.get(audio_digest(call)):
        raise AlreadyImportedError(f"{path}: was imported before, as {script}")
    found = _phrases(options.transcript, path)
    order = list(_order_remark(call, found, options.caller))
    talk = conversation(call.caller_sounds, call.agent_sounds, call.audio.rate_hz, len(call.agent))
    if options.session.get("turn_detection") != FULL_DUPLEX:
        talk = without_greeting(talk)
    utterances = recorded_utterances(call, talk)
    if not utterances:
        raise UsageError(
            f"{path}: the agent answers nothing that the caller says: leave it out, or check"
            " --caller"
        )
    words = _words(call, utterances, found, options.caller)
    caller_words = {name: caller for name, (caller, _) in words.items()}
    script_path = write_script(
        call, talk, utterances, options.scripts_dir, options.session, caller_words
    )
    try:
        compiled = compiled_for_call(load_script(script_path), call)
        measured = measure(call, utterances, compiled.prepare_session(0, 0), start_ns)
        facts = facts_of_script(TARGET, options.name, compiled)
    except BaseException as error:
        remove_script(script_path)
        if isinstance(error, UsageError):
            raise UsageError(f"{path}: rtbench cannot play this caller: {error}") from None
        raise
    finally:
        # each WAV of the call is read once, and the cache would keep all of them
        load_wav.clear()
    imported = ImportedCall(
        script_path.stem, path.name, call.seconds, facts, _with_words(measured, words)
    )
    return imported, [*order, *call.remarks, *_remarks(talk)]


def _order_remark(
    call: RecordedCall, found: Sequence[Phrase], caller: CallerChannel
) -> Iterator[Remark]:
    """Yield a remark if the channels seem swapped. Raise UsageError if the user has not named
    the caller's.
    """
    if not are_swapped(found, call.caller_sounds, call.agent_sounds, call.audio.rate_hz):
        return
    number = channel_number(caller)
    text = "the transcript shows that the channels are swapped"
    where = f"the agent's words are in channel {number}, the caller's"
    if caller == "auto":
        raise UsageError(
            f"{call.path}: {text} ({where}): add --caller 2, or --caller 1 if they are not"
        )
    yield Remark(
        f"{text} (--caller {3 - number} swaps them)",
        f"{text} ({where}): --caller {3 - number} swaps them",
    )


def _remarks(talk: RecordedConversation) -> Iterator[Remark]:
    if talk.unanswered:
        text = "the caller's last words, which the agent did not answer, are not in the script"
        yield Remark(text, text)
    if talk.late_speeches:
        text = (
            f"the agent spoke again after a silence of more than {MAX_REPLY_PAUSE_S:g} s, which is"
            " not measured"
        )
        yield Remark(text, f"{text} ({talk.late_speeches}×)")


def _words(
    call: RecordedCall,
    utterances: Iterable[RecordedUtterance],
    spoken: Sequence[Phrase],
    channel: CallerChannel,
) -> dict[str, tuple[str, str]]:
    """Return (words of the caller, words of the agent) for each step, from the transcript of the
    call.
    """
    if not spoken:
        return {}
    caller_channel = channel_number(channel)
    found = aligned(spoken, call.caller_sounds[0].start / call.audio.rate_hz, caller_channel)
    caller = SideWords(found, "caller", caller_channel)
    agent = SideWords(found, "agent", caller_channel)
    rate_hz = call.audio.rate_hz
    listed = list(utterances)
    words = {}
    for number, recorded in enumerate(listed):
        until = listed[number + 1].utterance.start if number + 1 < len(listed) else len(call.agent)
        reply = replace(
            recorded.utterance.span,
            begin=recorded.utterance.end,
            end=max(recorded.utterance.end, until),
        )
        words[recorded.name] = (
            caller.text_in(recorded.utterance.span, rate_hz),
            agent.text_in(reply, rate_hz),
        )
    return words


def _phrases(transcript: Path | None, recording: Path) -> list[Phrase]:
    """Return the phrases of a call's transcript; none without a transcript. Raise UsageError if
    it cannot be read.
    """
    if transcript is None:
        return []
    path = transcript / f"{recording.stem}.json" if os.path.isdir(transcript) else transcript
    try:
        return phrases(read_json(read_file(path)))
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such transcript; name a JSON file, or a folder with CALL.json files"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: the transcript cannot be read: {error.strerror}") from None
    except (JsonError, json.JSONDecodeError, UnknownFormError) as error:
        raise UsageError(
            f"{path}: is not a transcript with times ({error}); known are {KNOWN_FORMS}"
        ) from None


def _with_words(measured: MeasuredCall, words: Mapping[str, tuple[str, str]]) -> MeasuredCall:
    texts = (
        (turn, *words.get(turn.step, (turn.input_text, turn.reply_text))) for turn in measured.turns
    )
    turns = (
        msgspec.structs.replace(turn, input_text=said, reply_text=reply)
        for turn, said, reply in texts
    )
    return replace(measured, turns=tuple(turns))


def write_run(
    runs_dir: Path,
    name: str,
    calls: Sequence[ImportedCall],
    start_ns: int,
    notices: Sequence[str],
    *,
    transcripts: bool,
) -> Path:
    """Write the run of recorded calls, and return its folder. Raise UsageError if it cannot be
    written.

    The first call starts at `start_ns`, which is before now. In the run, the calls end then.
    """
    total_ns = round(sum(call.seconds for call in calls) * NS_PER_S)
    started_utc_ns = utc_ns() - (monotonic_ns() - start_ns) - total_ns
    folder = files.create(runs_dir, name, started_utc_ns)
    scripts = [{key: call.facts[key] for key in COMPARED} | {"target": TARGET} for call in calls]
    document = opening_document(
        folder.name, name, started_utc_ns, {}, [TARGET_ENTRY], scripts, 1, [NOTICE, *notices]
    ) | {"labels": {}, "interleaved": False, "warmup_s": 0.0}
    files.write_document(folder, document)
    recorder = Recorder(
        Spool(folder, 0), started_utc_ns, transcripts=transcripts, ahead_ns=total_ns
    )
    for call in calls:
        labels = RowContext(call.name, TARGET, name, call.facts["name"])
        session = recorder.session(labels)
        session.service_session_id = call.source
        for turn in call.measured.turns:
            session.turn_started()
            session.turn_ended(turn)
        session.session_ended(call.measured.session)
    recorder.close()
    stopped = {
        "state": "closing",
        "ended_utc_ns": started_utc_ns + total_ns,
        "stop_reason": "all sessions are done",
    }
    files.write_document(folder, document | stopped)
    finalize(folder)
    return folder
