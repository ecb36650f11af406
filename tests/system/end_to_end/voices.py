"""Callers of every kind in one Locust file, with recordings so short that a run of all of them
takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 24_000
Sound = NDArray[np.int16]
SERVER_VAD = "type: server_vad, silence_duration_ms: 200, threshold: 0.4, prefix_padding_ms: 100"
OF_A_DIALECT = {
    "ga": (", idle_timeout_ms: 30000", ""),
    "preview": ("", "\n  temperature: 0.8"),
    "voice-live": (
        ", auto_truncate: true",
        "\n  temperature: 0.8\n  echo_cancellation: server_echo_cancellation",
    ),
}
"""Settings that only this dialect has: settings of turn detection, and settings of the session."""
SCRIPTS = {
    "server_vad": """
session:
  voice: alloy
  turn_detection: {SERVER_VAD}
steps:
  - audio: word.wav
    chunk_ms: 20
""",
    "semantic_vad": """
session: {turn_detection: {type: semantic_vad, eagerness: high}}
steps:
  - audio: word.wav
    chunk_ms: 50
""",
    "asked_for": """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200, create_response: false}}
steps:
  - {audio: word.wav, name: answered_in_text, output: text}
  - {audio: words.wav, name: answered_aloud}
""",
    "manual": """
session: {input_transcription: whisper-1}
steps:
  - {audio: word.wav, chunk_ms: 50}
  - {audio: words.wav, paced: false}
""",
    "text": """
session: {output: text}
steps:
  - text: Hello.
  - request_response: {instructions: Answer aloud., output: audio}
""",
    "telephone": """
session:
  turn_detection: {type: server_vad, silence_duration_ms: 200}
  input_format: g711_ulaw
  output_format: g711_alaw
steps: [{audio: words.wav}]
""",
    "crowd": """
session:
  instructions: The caller is ${name}.
  turn_detection: {type: server_vad, silence_duration_ms: 200, threshold: 0.8}
  input_transcription: whisper-1
variables: callers.csv
background_noise: {file: room.wav, snr_db: 25}
jitter_buffer_ms: 120
steps:
  - text: This is ${name}.
    output: text
  - audio: [word.wav, words.wav]
    name: question
""",
}
CALLERS = """
from locust import task

from rtbench import RealtimeUser, script


class ServerVad(RealtimeUser):
    fixed_count = 2
    script = "server_vad.yaml"


class SemanticVad(RealtimeUser):
    fixed_count = 1
    script = "semantic_vad.yaml"


class AskedFor(RealtimeUser):
    fixed_count = 1
    script = "asked_for.yaml"


class Manual(RealtimeUser):
    fixed_count = 1
    script = "manual.yaml"


class Typing(RealtimeUser):
    fixed_count = 1
    script = "text.yaml"


class Telephone(RealtimeUser):
    fixed_count = 1
    script = "telephone.yaml"


class Crowd(RealtimeUser):
    fixed_count = 3
    script = "crowd.yaml"


class Mixed(RealtimeUser):
    fixed_count = 4
    tasks = {script("text.yaml"): 3, script("server_vad.yaml"): 1}


class Written(RealtimeUser):
    fixed_count = 1
    session = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}

    @task
    def call(self):
        self.text("Hello.", name="greeting", output="text")
        self.expect("text_delta", within=60)
        self.pause(0.1)
        self.audio("word.wav", name="word")
        self.expect("speech_stopped", within=60)
        self.expect("audio_delta", within=60)
"""
SESSIONS = 15


def write_callers(folder: Path, dialect: str) -> Path:
    """Write the Locust file of all callers, with its scripts, recordings and variables."""
    detection, session = OF_A_DIALECT[dialect]
    for name, script in SCRIPTS.items():
        text = script.replace("{SERVER_VAD}", f"{{{SERVER_VAD}{detection}}}{session}")
        (folder / f"{name}.yaml").write_text(text)
    (folder / "callers.csv").write_text("name\nAda\nGrace\nMary\n")
    write_sound(folder / "word.wav", tone(0.3))
    write_sound(folder / "words.wav", tone(0.2), silence(0.1), tone(0.3))
    soundfile.write(folder / "room.wav", noise(0.5), RATE_HZ)
    (folder / "callers.py").write_text(CALLERS)
    return folder / "callers.py"


def write_sound(path: Path, *parts: Sound) -> None:
    """Write a recording that begins and ends with silence."""
    soundfile.write(path, np.concatenate([silence(0.1), *parts, silence(0.1)]), RATE_HZ)


def tone(seconds: float, level: float = 0.3) -> Sound:
    """Return a sound that every VAD detects as speech."""
    cycles = 440 * np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (level * 32_767 * np.sin(2 * np.pi * cycles)).astype(np.int16)


def silence(seconds: float) -> Sound:
    return np.zeros(int(seconds * RATE_HZ), np.int16)


def noise(seconds: float) -> Sound:
    samples = np.random.default_rng(1).normal(0, 1_000, int(seconds * RATE_HZ))
    return samples.astype(np.int16)
