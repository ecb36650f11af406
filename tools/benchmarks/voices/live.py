"""Calls to an agent that answers with recorded voices, compared with the instants at which it sent
them.

The agent is the simulator's, with other recordings. The first and the last sample of each voice are
known (`prompts`), and the ground-truth log has the instant of each frame; no detector is involved.
The caller plays a recorded voice, whose end is known, too. Instants are compared with their own
bounds, and `voice_to_voice` with its bound. The replies of `room tone` have 50 to 240 ms of the
room of their recording before the voice, and 300 ms after it.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from bench.base.installation import terminate
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.metrics import CATALOGUE
from bench.load.simulator_process import wait_until
from bench.plan.recordings import SpeechSpan, load_pcm, to_pcm16
from bench.record import folder as files
from bench.record.validity_data import row_bounds
from bench.simulator import recorded_replies
from bench.simulator.ground_truth_log import read_truth
from bench.simulator.recorded_replies import RATE_HZ, RecordedReply, build_reply
from bench.simulator.services import agents
from bench.wire.audio import ALL_FORMATS, G711_ULAW, PCM16, PCM16_16K, AudioFormat
from rtbench.calibrate.ground_truth import (
    OPENERS,
    STREAM,
    GroundTruth,
    PlayedRecording,
    match_rows,
    parse_truth,
)
from tests.system.end_to_end.locust_process import ENDS_WELL, rtbench
from tests.telephone_truth import MAX_LATE_NS
from tools.benchmarks.calls import ENDS_S
from tools.benchmarks.voices.conditions import LEVEL_DBFS, gain_db, has_tone, voice
from tools.benchmarks.voices.corpus import Floats, Truth, energies, in_split
from tools.made_page import table

LEADS_MS = (75, 140, 205, 270, 340)
"""The silence before a voice, of each reply in turn."""
TAIL_MS = 400
TONE_MS, TONE_AFTER_MS, TONE_BELOW_DB = (50, 100, 150, 200, 240), 300, (15, 20, 25, 30, 40)
PROMPTS, STEP = 60, 7
"""The maximum number of replies, and by how many the replies of two successive calls differ."""
SHORT_S, LONG_S, CALLER_S = (0.2, 3.0), (3.0, 8.0), (0.2, 2.0)
MAX_PAUSE_S, MAX_CALLER_PAUSE_S = 0.6, 0.3
"""The maximum pauses: 800 ms end a reply, and 500 ms end the speech of the caller."""
ANSWERS, AT_ONCE = 5, 10
TRUE_TO_MS = 1
"""The precision of the truth: half a millisecond at each end."""
PROFILE = "generation_speed: {speed}\ndelays_ms:\n  first_audio: {{p50: 150, p95: 300}}\n"
STORED, OFFSETS = "replies.pickle", "offsets"
"""The file of the replies, and the file to which the agent writes the first reply of each call."""


@dataclass(frozen=True)
class Line:
    """How an agent is called. `url` is a name of the ready file. `instants` are those that are
    compared.
    """

    dialect: str
    url: str
    codec: str | None = None
    tone: bool = False
    received: AudioFormat = G711_ULAW
    """The format in which the agent hears the caller."""
    instants: Sequence[str] = ("greeting", "first_audible", "last_audible", "voice_to_voice")
    speed: float = 1
    """Seconds of audio that are generated in a second. The replies of the Realtime API come
    faster than they play."""


LINES: Mapping[str, Line] = {
    "plain PCM": Line("pcm", "agent_pcm", received=PCM16_16K),
    "plain PCM, room tone": Line("pcm", "agent_pcm", received=PCM16_16K, tone=True),
    "Twilio": Line("twilio", "agent_twilio"),
    "SIP": Line("sip", "agent_sip"),
    "WebRTC, PCMU": Line("webrtc", "agent_webrtc", codec="PCMU"),
    "WebRTC, Opus": Line(
        "webrtc",
        "agent_webrtc",
        received=PCM16,
        instants=("greeting", "first_audible", "last_audible"),
    ),
    "Realtime (GA)": Line(
        "ga", "openai", received=PCM16, instants=("first_audible", "voice_to_voice"), speed=6
    ),
}


# What the agent says.


class Prompt(NamedTuple):
    """A reply with a voice from `start_s` to `end_s`."""

    reply: RecordedReply
    start_s: float
    end_s: float
    path: str


def _sound(entry: Truth) -> Floats:
    """Return a voice at 24 kHz, cut where a telephone of 8 kHz hears it start and end."""
    narrow, wide = voice(entry, 8_000), voice(entry, RATE_HZ)
    ratio = RATE_HZ // 8_000
    return wide.recorded[narrow.start * ratio : narrow.end * ratio]


def _longest_pause_s(entry: Truth) -> float:
    windows = energies(_sound(entry), RATE_HZ)
    loud = np.flatnonzero(windows > gain_db(LEVEL_DBFS - 30) ** 2)
    return float(np.diff(loud).max(initial=0)) / 100


def spoken(split: str, seconds: tuple[float, float], max_pause_s: float) -> Iterator[Truth]:
    """Yield voices of this duration without long pauses. Speakers alternate."""
    for entry in in_split(split):
        if seconds[0] <= entry.seconds <= seconds[1] and _longest_pause_s(entry) <= max_pause_s:
            yield entry


@cache
def prompts(split: str, *, tone: bool) -> tuple[Prompt, ...]:
    """Return the replies of the agent: in turn two short ones, and one of at least 3 s."""
    short, long = (
        (entry for entry in spoken(split, seconds, MAX_PAUSE_S) if not tone or has_tone(entry))
        for seconds in (SHORT_S, LONG_S)
    )
    chosen = (next(long if number % 3 == 2 else short, None) for number in range(PROMPTS))
    made = []
    for number, entry in enumerate(entry for entry in chosen if entry is not None):
        sound = _sound(entry)
        start = RATE_HZ * LEADS_MS[number % len(LEADS_MS)] // 1_000
        samples = np.concatenate([np.zeros(start), sound, np.zeros(RATE_HZ * TAIL_MS // 1_000)])
        if tone:
            _add_room(samples, start, start + len(sound), voice(entry, RATE_HZ).tone, number)
        reply = build_reply(
            f"reply-{number}", f"Reply {number}.", to_pcm16(samples.astype(np.float32))
        )
        made.append(
            Prompt(reply, start / RATE_HZ, (start + len(sound)) / RATE_HZ, entry.recording.path)
        )
    return tuple(made)


def _add_room(samples: Floats, start: int, end: int, tone: Floats, number: int) -> None:
    first = max(0, start - RATE_HZ * TONE_MS[number % len(TONE_MS)] // 1_000)
    last = end + RATE_HZ * TONE_AFTER_MS // 1_000
    level = gain_db(LEVEL_DBFS - TONE_BELOW_DB[number // len(TONE_MS) % len(TONE_BELOW_DB)])
    samples[first:last] += np.resize(np.concatenate([tone, tone[::-1]]), last - first) * level


def simulate(folder: str, *words: str) -> None:
    """Run `rtbench simulate` with the stored replies. The log then has the first sample of each
    voice.
    """
    from rtbench.cli.app import app

    said: tuple[Prompt, ...] = pickle.loads((Path(folder) / STORED).read_bytes())
    starts = {prompt.reply.name: prompt.start_s for prompt in said}
    frames_of, calls, begin = agents.frames_of, count(), agents.AgentBehaviour.__init__

    @cache
    def with_known_starts(
        reply: RecordedReply, format: AudioFormat
    ) -> tuple[agents.AgentFrame, ...]:
        frames = frames_of(reply, format)
        first, offset = divmod(round(starts[reply.name] * format.rate_hz), len(frames[0].samples))
        return tuple(
            frame._replace(audible_byte=offset * format.sample_bytes if number == first else None)
            for number, frame in enumerate(frames)
        )

    def begin_elsewhere(agent: Any, *parts: Any) -> None:
        begin(agent, *parts)
        offset = next(calls) * STEP % len(said)
        agent._replies = (*agent._replies[offset:], *agent._replies[:offset])
        with (Path(folder) / OFFSETS).open("a") as file:
            file.write(f"{agent.ids.session} {offset}\n")

    agents.frames_of = with_known_starts  # type: ignore[assignment]
    agents.AgentBehaviour.__init__ = begin_elsewhere  # type: ignore[assignment, method-assign]
    recorded_replies.load_replies = lambda: tuple(map(_with_known_start, said))
    app(["simulate", *words])


def _with_known_start(prompt: Prompt) -> RecordedReply:
    """Return the reply with the known first sample of its voice in its blocks."""
    known = {}
    for name, blocks in prompt.reply.blocks.items():
        format = ALL_FORMATS[name]
        at = round(prompt.start_s * format.rate_hz) * format.sample_bytes
        placed = []
        for block in blocks:
            placed.append(replace(block, audible_byte=at if 0 <= at < block.audio_bytes else None))
            at -= block.audio_bytes
        known[name] = tuple(placed)
    return replace(prompt.reply, blocks=known)


# The calls.


def write_caller(folder: Path, split: str, number: int) -> SpeechSpan:
    """Write the WAV of the caller, and return the position of its speech at 24 kHz."""
    entries = list(spoken(split, CALLER_S, MAX_CALLER_PAUSE_S))
    sound = _sound(entries[number % len(entries)])
    start = RATE_HZ // 10
    samples = np.concatenate([np.zeros(start), sound, np.zeros(RATE_HZ // 10)])
    soundfile.write(
        folder / "caller.wav", to_pcm16(samples.astype(np.float32)), RATE_HZ, subtype="PCM_16"
    )
    return SpeechSpan(start, start + len(sound))


def script_of(line: Line) -> str:
    if line.dialect == "ga":
        head = "session: {turn_detection: {type: server_vad, silence_duration_ms: 500}}\nsteps:\n"
        return head + "  - {audio: caller.wav}\n" * ANSWERS
    extra = ", extra: {id: '{uuid}'}" if line.dialect == "pcm" else ""
    head = f"session: {{turn_detection: full_duplex{extra}}}\nreply_silence_ms: 800\nsteps:\n"
    return head + "  - {wait_for: greeting}\n" + "  - {audio: caller.wav}\n" * ANSWERS


class Compared(NamedTuple):
    """The error and the bound of a value, in ms, and the recording of the reply, if it is known."""

    name: str
    error_ms: float
    bound_ms: float
    path: str


def play(line: Line, number: int, split: str, calls: int) -> tuple[list[Compared], int, str]:
    """Run the calls of a line. Return all values, the number of missed replies, and the run's
    verdict.

    A reply has no value if the log does not know its instant to half a millisecond, or if the agent
    sent it too late.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        speech = write_caller(folder, split, number)
        (folder / "profile.yaml").write_text(PROFILE.format(speed=line.speed))
        (folder / "call.yaml").write_text(script_of(line))
        said = prompts(split, tone=line.tone)
        (folder / STORED).write_bytes(pickle.dumps(said))
        with agent(folder) as urls:
            target = {"url": urls[line.url], "dialect": line.dialect} | (
                {"codec": line.codec} if line.codec else {}
            )
            (folder / "targets.yaml").write_text(json.dumps({"targets": {"agent": target}}))
            load = ("-u", min(calls, AT_ONCE), "--sessions", calls, "--targets", "agent")
            done = rtbench("run", "call.yaml", *load, "--name", "voices", cwd=folder)
        if done.returncode not in ENDS_WELL:
            sys.exit(f"{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}")
        (run,) = (folder / "runs").iterdir()
        recording = PlayedRecording.of(load_pcm(folder / "caller.wav"), line.received)._replace(
            speech=speech
        )
        found = list(compared(line, run, Log.read(folder, recording), said))
        heard = files.read_table(run, "turns", ["measured_from", "first_audible_at_ns"]).to_pylist()
        missed = calls * ANSWERS - sum(None not in row.values() for row in heard)
        return found, missed, files.read_document(run)["validity"]["status"]


@contextmanager
def agent(folder: Path) -> Iterator[dict[str, str]]:
    """Start the agent. Yield the URLs of its ready file."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "tools.benchmarks.voices.live", str(folder), "--port", "0"]
    command += ["--ready-file", str(ready), "--profile", str(folder / "profile.yaml")]
    command += ["--ground-truth", str(folder / "truth.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(ready.exists, process, "the agent", None)
        yield json.loads(ready.read_text())["urls"]
    finally:
        process.terminate()
        terminate(process, ENDS_S)


class Log(NamedTuple):
    """The ground truth of a run.

    `offsets` has the first reply of each call, and `frames` the due instant and the lateness of
    each frame of it. Their keys are the ids that the run's rows have.
    """

    truth: GroundTruth
    offsets: Mapping[str, int]
    frames: Mapping[str, Sequence[tuple[int, int]]]

    @classmethod
    def read(cls, folder: Path, recording: PlayedRecording) -> Log:
        path = folder / OFFSETS
        listed = (line.split() for line in (path.read_text().splitlines() if path.exists() else ()))
        offsets = {session: int(offset) for session, offset in listed}
        frames: dict[str, list[tuple[int, int]]] = {session: [] for session in offsets}
        lines = list(read_truth(folder / "truth.jsonl"))
        for line in lines:
            is_opener = line.get("direction") == "in" and line["type"] in OPENERS
            name = str(line["event_id"]).removeprefix(STREAM) if is_opener else line.get("call_id")
            if name and line["session"] in offsets:
                offsets[name], frames[name] = offsets[line["session"]], frames[line["session"]]
            if line.get("audio_bytes") and line["session"] in frames:
                sent_ns = line["send_end_ns"] or line["due_ns"] + NS_PER_S
                frames[line["session"]].append((line["due_ns"], sent_ns - line["due_ns"]))
        return cls(parse_truth(_with_tracks(lines, offsets), recording), offsets, frames)

    def is_on_time(self, call: str, start_ns: int, end_ns: int) -> bool:
        """Return whether the agent sent all frames of this time so early that the player had
        them in time.
        """
        near = [
            late_ns for due_ns, late_ns in self.frames.get(call, ()) if start_ns <= due_ns <= end_ns
        ]
        return max(near, default=0) <= MAX_LATE_NS


def _with_tracks(
    lines: Sequence[Mapping[str, Any]], offsets: Mapping[str, int]
) -> Iterator[Mapping[str, Any]]:
    """Yield the log. Before the first packet of a call over WebRTC, which has no line for its
    start, add that line.
    """
    known = {line["session"] for line in lines if line.get("direction") == "open"}
    named = {
        line["session"]
        for line in lines
        if line.get("direction") == "in" and line["type"] in OPENERS
    }
    for line in lines:
        session = line.get("session")
        if session in offsets and session not in known | named:
            known.add(session)
            yield {"direction": "open", "session": session, "call_id": session}
        yield line


def compared(line: Line, run: Path, log: Log, said: Sequence[Prompt]) -> Iterator[Compared]:
    """Yield the values of all turns of a run, except those of replies that the agent sent too
    late.
    """
    turns, sessions = files.read_table(run, "turns"), files.read_table(run, "sessions")
    requests = dict(
        zip(*(sessions[name].to_pylist() for name in ("session_id", "request_id")), strict=True)
    )
    greeted = dict(
        zip(
            sessions["session_id"].to_pylist(),
            row_bounds(sessions, CATALOGUE["greeting"]),
            strict=True,
        )
    )
    waited = row_bounds(turns, CATALOGUE["voice_to_voice"])
    assert log.truth.recording is not None
    for row, waited_ms in zip(turns.to_pylist(), waited.tolist(), strict=True):
        if requests[row["session_id"]] in log.truth.calls:  # of a track
            row["service_session_id"] = requests[row["session_id"]]
        call = row["service_session_id"]
        speeches = {row["audio"] or "": log.truth.recording.speech}
        errors = match_rows([row], log.truth, speeches, ("greeting", "voice_to_voice"))
        if "first_audible" not in errors.instants:
            continue
        prompt = (
            said[(log.offsets[call] + row["turn"] - 1) % len(said)] if call in log.offsets else None
        )
        error_ns = errors.instants["first_audible"][0]
        start_ns = row["start_ns"] + row["first_audible_at_ns"] - error_ns
        end_ns = start_ns + (round((prompt.end_s - prompt.start_s) * NS_PER_S) if prompt else 0)
        if not log.is_on_time(call, start_ns - NS_PER_S, end_ns):
            continue
        path = prompt.path if prompt else ""
        if row["measured_from"] is None:
            for found_ns in errors.metrics.get("greeting", ()):
                yield Compared("greeting", found_ns / NS_PER_MS, greeted[row["session_id"]], path)
            continue
        bound_ms = (row["first_audible_uncertainty_ns"] or 0) / NS_PER_MS
        yield Compared("first_audible", error_ns / NS_PER_MS, bound_ms, path)
        for found_ns in errors.metrics.get("voice_to_voice", ()):
            yield Compared("voice_to_voice", found_ns / NS_PER_MS, waited_ms, path)
        if prompt and row["last_audible_at_ns"] is not None:
            error_ms = (row["start_ns"] + row["last_audible_at_ns"] - end_ns) / NS_PER_MS
            bound_ms = (row.get("last_audible_uncertainty_ns") or 0) / NS_PER_MS
            yield Compared("last_audible", error_ms, bound_ms, path)


HEAD = (
    "call",
    "value",
    "n",
    "bias, ms",
    "p95",
    "max",
    "bound p50",
    "bound p95",
    "beyond",
    "missed",
    "run",
)


def print_lines(split: str, only: str, calls: int, worst: int) -> None:
    """Print the table of all lines, and of each value the `worst` that are furthest beyond their
    bounds.
    """
    rows = list[list[str]]()
    for number, (name, line) in enumerate(LINES.items()):
        if only.casefold() not in name.casefold():
            continue
        values, missed, verdict = play(line, number, split, calls)
        for instant in line.instants:
            listed = [value for value in values if value.name == instant]
            errors, bounds = (
                [value.error_ms for value in listed],
                [value.bound_ms for value in listed],
            )
            cells = ["–"] * 5
            if listed:
                cells = [
                    f"{np.median(errors):.2f}",
                    *(f"{np.quantile(np.abs(errors), p):.2f}" for p in (0.95, 1)),
                ]
                cells += [f"{np.quantile(bounds, p):.2f}" for p in (0.5, 0.95)]
            beyond = [
                value for value in listed if abs(value.error_ms) > value.bound_ms + TRUE_TO_MS
            ]
            rows.append(
                [name, instant, f"{len(listed)}", *cells, f"{len(beyond)}", f"{missed}", verdict]
            )
            print(" · ".join(rows[-1]), flush=True)
            for value in sorted(beyond, key=lambda value: -abs(value.error_ms))[:worst]:
                print(f"    {value.error_ms:.1f} ms, bound {value.bound_ms:.1f}: {value.path}")
    print(table(HEAD, rows))


if __name__ == "__main__":
    simulate(*sys.argv[1:])
