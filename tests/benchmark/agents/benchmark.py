"""Do our figures of agents agree with the agents' own logs, where nobody here wrote what they are made of?

Ten callers for a minute each, who interrupt: of a pipecat bot behind its serializer of Twilio's streams, of one behind
its serializer of binary PCM (Vonage's), and of an agent that reads and writes with Azure's own package. Agent and
caller are on this machine and stamp with the same clock (CLOCK_MONOTONIC), so instants are compared: when a message
passed the agent's socket, and what we say of the same sound. The agent stamps in its event loop: what it receives as
late as that gets to it, what it sends before and after it does, and in between its kernel had it. Our figures are those
of a caller's ear; his jitter buffer is taken off. What is needed is installed for this alone.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile
import soxr

import bench.simulator
from bench.metrics import AUDIBLE
from bench.plan.recordings import find_speech
from bench.protocol.audio import G711_ULAW, PCM16, PCM16_16K, AudioFormat, Samples
from bench.run import folder as files
from bench.units import NS_PER_MS, NS_PER_S
from tests.benchmark.frameworks import Framework, in_node, in_python
from tests.benchmark.harness import run_locust
from tests.simulator_process import ROOT

HERE = Path(__file__).parent
CALLERS, TIME = 10, "60s"
JITTER_NS = 50 * NS_PER_MS
PAUSE_NS = 700 * NS_PER_MS
"""Digital silence that parts what the caller says; pauses within it are shorter."""
PIPECAT = Framework(("pipecat-ai[websocket]==1.14.0", "uvicorn==0.54.0"))
AZURE = Framework(("@azure/communication-call-automation@1.6.0", "ws@8"))


class Agent(NamedTuple):
    """A program that answers calls, what it is made of, and how it is called."""

    program: str
    made_of: Framework
    path: str
    dialect: str
    format: AudioFormat


AGENTS = {
    "pipecat, Twilio": Agent("pipecat_agent.py", PIPECAT, "/twilio", "twilio", G711_ULAW),
    "pipecat, binary": Agent("pipecat_agent.py", PIPECAT, "/raw?call={uuid}", "pcm", PCM16_16K),
    "Azure's package": Agent("acs_agent.mjs", AZURE, "/", "acs", PCM16_16K),
    "Azure's package, 24 kHz": Agent("acs_agent.mjs", AZURE, "/", "acs", PCM16),
}


def main() -> None:
    """Print a row for each agent and measure."""
    with tempfile.TemporaryDirectory() as folder:
        homes: dict[Framework, tuple[Path, list[str]]] = {}
        print("agent | measure | n | off by p50 / p95 / max, ms")
        for name, agent in AGENTS.items():
            if agent.made_of is AZURE and shutil.which("npm") is None:
                print(f"{name}: SKIPPED, there is no npm")
                continue
            if agent.made_of not in homes:
                home = Path(folder) / agent.program
                homes[agent.made_of] = home, (in_node if agent.made_of is AZURE else in_python)(home, agent.made_of)
            metric(name, agent, *homes[agent.made_of])


def recorded(folder: Path, rate_hz: int) -> list[str]:
    """What an agent says: the simulator's voices, as WAVs of this rate."""
    paths = []
    for voice in sorted((Path(str(bench.simulator.__file__)).parent / "voices").glob("*.flac")):
        samples, own_hz = soundfile.read(voice)
        paths.append(folder / f"{voice.stem}.wav")
        soundfile.write(paths[-1], soxr.resample(samples, own_hz, rate_hz), rate_hz, "PCM_16")
    return [str(path) for path in paths]


@contextmanager
def answering(agent: Agent, home: Path, run: Sequence[str], log: Path, *arguments: str) -> Iterator[int]:
    """The agent's program while it runs; its port."""
    shutil.copy(HERE / agent.program, home)
    command = [*run, agent.program, str(log), *arguments]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)


def metric(name: str, agent: Agent, home: Path, run: Sequence[str]) -> None:
    scratch = home / f"{agent.dialect}-{agent.format.name}"
    scratch.mkdir()
    recordings = recorded(scratch, max(agent.format.rate_hz, PCM16_16K.rate_hz))
    log = scratch / "agent.jsonl"
    with answering(agent, home, run, log, "0", *recordings) as port:
        of = {"service": agent.dialect, "url": f"ws://127.0.0.1:{port}{agent.path}"}
        formats = dict.fromkeys(("input_format", "output_format"), agent.format.name)
        targets = scratch / "targets.yaml"
        targets.write_text(json.dumps({"targets": {"agent": {**of, "session": formats}}}), encoding="utf-8")
        load = ["-u", str(CALLERS), "-r", str(CALLERS), "-t", TIME, "--target-file", str(targets), "--targets", "agent"]
        folder, status, output = run_locust(ROOT / "scenarios" / "agent.py", scratch / "runs", *load)
    turns, sessions = (files.read_table(folder, table).to_pandas() for table in ("turns", "sessions"))
    verdict = output[output.rindex("\n", 0, output.rindex(" turns,")) + 1 :].splitlines()[0]
    print(f"{name}: exit {status}, {verdict}")
    outcomes = ", ".join(f"{outcome} {count}" for outcome, count in turns["outcome"].value_counts().items())
    print(f"{name}: calls {len(sessions)}, outcomes of turns: {outcomes}")
    off: dict[str, list[float]] = defaultdict(list)
    for call, session in joined(calls_of(log, agent.format), sessions):
        compare(call, session, turns[turns["session_id"] == session["session_id"]], off)
    for measured, values in off.items():
        p50, p95, most = (np.quantile(values, p, method="inverted_cdf") for p in (0.5, 0.95, 1))
        print(f"{name} | {measured} | {len(values)} | {p50:.2f} / {p95:.2f} / {most:.2f}", flush=True)


# What the agent's log says.


@dataclass
class Reply:
    """What an agent says: from when it sent its first audible sample on, and until when that sounds, where it is heard.

    `sending_ns`: for how long its loop was at sending that.
    """

    begin_ns: int
    sending_ns: int
    sent_ns: int
    until_ns: int
    cleared_ns: int | None = None


@dataclass
class Call:
    """A call by its agent's log. `heard`: begin and end of what its caller said, as the agent received it."""

    opened_ns: int = 0
    closed_ns: int = 0
    replies: list[Reply] = field(default_factory=list)
    heard: list[tuple[int, int]] = field(default_factory=list)
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))


def calls_of(log: Path, format: AudioFormat) -> dict[str, Call]:
    """Each call by the id that its caller has told."""
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in map(json.loads, log.read_text().splitlines()):
        lines[line["call"]].append(line)
    return {name: call_of(each, format) for name, each in lines.items()}


def call_of(lines: Sequence[Mapping[str, Any]], format: AudioFormat) -> Call:
    call, received = Call(), list[tuple[int, Samples]]()
    for line in lines:
        at_ns = line["at"]
        if line["d"] == "note":
            call.notes[line["t"]].append(dict(line))
        elif line["t"] == "connected":
            call.opened_ns = at_ns
        elif line["t"] == "closed":
            call.closed_ns = call.closed_ns or at_ns
        elif (data := audio_in(line)) is not None:
            samples = format.decode(data)
            if line["d"] == "in":
                received.append((at_ns, samples))
            else:
                say(call, samples, at_ns, line.get("gone", at_ns) - at_ns, format)
        elif line["d"] == "out" and call.replies:
            last = call.replies[-1]
            last.cleared_ns, last.until_ns = last.cleared_ns or at_ns, min(last.until_ns, at_ns)
    call.heard = list(utterances(received, format))
    return call


def audio_in(line: Mapping[str, Any]) -> bytes | None:
    """The audio of a message, as each of the three has it; None of one without."""
    if line["t"] == "binary":
        return base64.b64decode(line["said"])
    said = json.loads(line["said"])
    held = said.get("media", {}).get("payload") or said.get("audioData", {}).get("data")
    return None if held is None else base64.b64decode(held)


def say(call: Call, samples: Samples, at_ns: int, sending_ns: int, format: AudioFormat) -> None:
    """Put audio behind the rest; pipecat sends a piece that it was at after its own `clear`, and that is heard."""
    length_ns = len(samples) * NS_PER_S // format.rate_hz
    last = call.replies[-1] if call.replies else None
    if last is None or at_ns > last.until_ns + 200 * NS_PER_MS:
        place = int(np.argmax(np.abs(samples.astype(np.int32)) >= AUDIBLE))
        begin_ns = at_ns + place * NS_PER_S // format.rate_hz
        call.replies.append(Reply(begin_ns, sending_ns, at_ns, at_ns + length_ns))
    else:
        last.sent_ns, last.until_ns = at_ns, max(last.until_ns, at_ns) + length_ns


def utterances(received: Sequence[tuple[int, Samples]], format: AudioFormat) -> Iterator[tuple[int, int]]:
    """When a microphone had recorded the begin and the end of what was said, had each message left it when it came."""
    if not received:
        return
    samples = np.concatenate([each for _, each in received])
    ends = np.cumsum([len(each) for _, each in received])

    def at_ns(sample: int) -> int:
        place = int(np.searchsorted(ends, sample))
        return int(received[place][0] - (ends[place] - sample) * NS_PER_S // format.rate_hz)

    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 8)
    for stretch in np.split(loud, np.flatnonzero(np.diff(loud) * NS_PER_S > PAUSE_NS * format.rate_hz) + 1):
        if len(stretch):
            speech = find_speech(samples[stretch[0] : stretch[-1] + 1], format.rate_hz)
            yield at_ns(stretch[0] + speech.begin + 1), at_ns(stretch[0] + speech.end)


# Ours beside it.


def joined(calls: Mapping[str, Call], sessions: pd.DataFrame) -> Iterator[tuple[Call, Mapping[Any, Any]]]:
    """Each call with its session, both of which have its id: on a full machine calls are not taken in their order."""
    rows = {row["service_session_id"]: row for row in sessions.to_dict("records")}
    assert set(rows) == set(calls), "there are calls without a session, or sessions without a call"
    return ((call, rows[name]) for name, call in calls.items())


def compare(call: Call, session: Mapping[Any, Any], turns: pd.DataFrame, off: dict[str, list[float]]) -> None:
    """Note by how many ms each of our figures of a call is off."""

    def note(name: str, ours_ns: float, theirs_ns: float, later_ns: float = 0) -> None:
        """`later_ns`: theirs was up to so much later."""
        off[name].append(max(theirs_ns - ours_ns, ours_ns - theirs_ns - later_ns, 0) / NS_PER_MS)

    first = call.replies[0]
    note(
        "greeted, at",
        session["start_ns"] + session["greeting_audible_at_ns"] - JITTER_NS,
        first.begin_ns,
        first.sending_ns,
    )
    note("call ended, at", session["start_ns"] + session["ended_at_ns"], call.closed_ns)
    heard = 0
    for _, turn in turns.sort_values("turn").iterrows():
        instants = {
            column.removesuffix("_at_ns"): int(turn["start_ns"] + turn[column])
            for column in turn.index
            if column.endswith("_at_ns") and pd.notna(turn[column])
        }
        if "first_audible" not in instants:
            continue
        heard += 1 + (turn["cut_off"] is True and instants["first_audible"] >= instants["speech_end"])
        began_ns = instants["first_audible"] - JITTER_NS
        reply = min(call.replies, key=lambda each: abs(each.begin_ns - began_ns))
        note("first_audible, at", began_ns, reply.begin_ns, reply.sending_ns)
        if "speech_end" in instants and turn["measured_from"] == "speech_end":
            end_ns = min((end for _, end in call.heard), key=lambda each: abs(each - instants["speech_end"]))
            note("speech_end, at", instants["speech_end"], end_ns)
            ours_ns = began_ns - instants["speech_end"]
            note("voice_to_voice", ours_ns, reply.begin_ns - end_ns, reply.sending_ns)
            for told in call.notes["latency"]:
                if abs(told["at"] - reply.begin_ns) < 100 * NS_PER_MS:
                    note("voice_to_voice, by its own observer", ours_ns, told["s"] * NS_PER_S)
        if "barge_in" in instants:
            begin_ns = min((begin for begin, _ in call.heard), key=lambda each: abs(each - instants["barge_in"]))
            note("barge_in, at", instants["barge_in"], begin_ns)
            if "barge_in_detected" in instants and reply.cleared_ns is not None:
                note(
                    "barge_in_detection",
                    instants["barge_in_detected"] - instants["barge_in"],
                    reply.cleared_ns - begin_ns,
                )
            if "barge_in_silent" in instants:
                stopped = reply.cleared_ns is not None and reply.sent_ns <= reply.cleared_ns
                ends_ns = reply.until_ns + (0 if stopped else JITTER_NS)
                note("barge_in_yield", instants["barge_in_silent"] - instants["barge_in"], ends_ns - begin_ns)
            if "barge_in_last_audio" in instants:
                note(
                    "barge_in_last_audio",
                    instants["barge_in_last_audio"] - instants["barge_in"],
                    reply.sent_ns - begin_ns,
                )
    off["replies of a call, n"].append(abs(heard - len(call.replies)))


if __name__ == "__main__":
    main()
