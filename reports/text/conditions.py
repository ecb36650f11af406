"""The names of the conditions of a measurement."""

from __future__ import annotations

LABELS = {
    "api_version": "API version",
    "session": "settings of the target",
    "digest": "script and audio",
    "turns": "turns of a session",
    "output": "kind of output",
    "chunk_ms": "pacing, ms of a chunk",
    "turn_detection_settings": "turn detection’s settings",
    "extra": "further session settings",
    "fillers": "fillers (interim_response)",
    "jitter_buffer_ms": "jitter buffer, ms",
    "reply_silence_ms": "silence that ends a reply, ms",
    "answer_min_ms": "minimum duration of an answer, ms",
    "background_snr_db": "background noise, dB",
    "variables": "rows of variables",
    "timeouts": "timeouts, s",
    "warmup_s": "warm-up, s",
    "num_users": "users",
    "spawn_rate": "users started a second",
    "session_pause": "pause between a user’s sessions, s",
    "profile": "load profile",
    "exclude_tags": "tags left out",
    "arrivals": "calls that arrive",
    "stages": "stages of sessions",
    "connect_rate": "connection starts a minute",
    "throttle_rate": "throttle_rate",
    "schema": "file format",
}
"""The name of each condition whose code is not its name. The last two only exclude stored runs."""


def condition_name(code: str) -> str:
    """Return the name of a condition, such as `users`, or `timeouts, s of talk` for the code
    `timeouts:talk`.
    """
    setting, _, script = code.partition(":")
    name = LABELS.get(setting, setting.replace("_", " "))
    return f"{name} of {script}" if script else name
