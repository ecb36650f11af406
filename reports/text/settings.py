"""Texts on settings: which parts of the measured values are settings of scripts, and the
settings of targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.formatting import NBSP, capitalize, format_number, join_words
from reports.render.blocks import Inline, Term

if TYPE_CHECKING:
    from reports.analysis.summary.run_validity import PlaybackSetup

GROWS = ("ttfa", "transcript_*", "response_total", "end_of_turn_delay", "voice_to_voice")
"""The metrics of VAD turns that are measured from the end of speech. So they include the delay
of its packetisation."""
FACTS = {
    **{name: name for name in ("address", "dialect", "model", "region")},
    "sign_in": "sign-in",
    "proxy": "proxy",
    "compression": "compression",
    "srtp": "SRTP",
    "voice": "voice",
    "turn_detection": "turn detection",
    "variant_settings": "own settings",
}
"""The fields of `TargetFacts` with settings of a target, and the printed name of each."""


def player(setup: PlaybackSetup) -> str:
    """Return a text on the simulated player, such as `jitter buffer of 60 ms included`."""
    if not setup.jitter_buffers_ms:
        return "jitter buffer not recorded"
    return f"{_buffers(setup.jitter_buffers_ms)} included"


def packetisation(setup: PlaybackSetup) -> str:
    """Return an explanation of why larger chunks increase the latency of VAD turns; "" without
    VAD turns.
    """
    if not setup.vad_chunks_ms:
        return ""
    return (
        "The service receives the end of speech only with the chunk that contains it. "
        f"So for VAD turns, {_chunk(setup)} packetisation: {join_words(list(GROWS))}. "
        "Compare only runs with the same chunk size."
    )


def packetisation_note(setup: PlaybackSetup) -> Inline:
    """Return a short form of the explanation that `packetisation` returns, if chunks of several
    sizes change the reading; otherwise "".
    """
    is_mixed = len(setup.vad_chunks_ms) > 1
    return (f"{capitalize(_chunk(setup))} ", Term("packetisation"), ".") if is_mixed else ""


def _chunk(setup: PlaybackSetup) -> str:
    return f"metrics from the end of speech contain up to one chunk ({_ms(setup.vad_chunks_ms)}) of"


def contained(setup: PlaybackSetup) -> str:
    """Return sentences on the segments of voice_to_voice that contain settings, such as
    silence_duration_ms.
    """
    from reports.analysis.summary.run_validity import distinct_values
    from reports.text.breakdown import AUDIBLE, SEGMENT_TEXTS, STOPPED

    waited_for: list[str] = []
    # The time that the service waits before it takes a turn as ended.
    server_vads = [
        detection for detection in setup.detections if detection.get("type") == "server_vad"
    ]
    silences_ms = distinct_values(server_vads, "silence_duration_ms")
    if silences_ms:
        who_sets = "the script sets" if len(silences_ms) == 1 else "scripts set"
        waited_for.append(f"the {_ms(silences_ms)} of silence_duration_ms that {who_sets}")
    if any(detection.get("silence_duration_ms") is None for detection in server_vads):
        unset = " if a script sets none" if silences_ms else ", which no script sets"
        waited_for.append(f"the service’s own silence_duration_ms{unset}")
    eager = dict.fromkeys(
        str(detection.get("eagerness"))
        for detection in setup.detections
        if detection.get("type") == "semantic_vad"
    )
    for eagerness in eager:
        set_ = (
            "the service’s own eagerness"
            if eagerness == "None"
            else f"the eagerness {eagerness} that a script sets"
        )
        waited_for.append(f"the delay of semantic_vad, by {set_}")
    detected = [f"{SEGMENT_TEXTS[STOPPED]} contains {setting}" for setting in waited_for]
    buffered = (
        _buffers(setup.jitter_buffers_ms)
        if setup.jitter_buffers_ms
        else "simulated player’s jitter buffer"
    )
    audible = f"{SEGMENT_TEXTS[AUDIBLE]} is the {buffered} and the reply’s leading silence"
    return " ".join(f"{capitalize(text)}." for text in (*detected, audible))


def _buffers(values_ms: tuple[float, ...]) -> str:
    return f"jitter buffer{'s' if len(values_ms) > 1 else ''} of {_ms(values_ms)}"


def _ms(values: tuple[float, ...]) -> str:
    return f"{join_words([format_number(value) for value in values])}{NBSP}ms"


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
