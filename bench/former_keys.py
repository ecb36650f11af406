"""The former names of what files and tasks hold: none of them works, and the error for one states the new name.

`KEYS`: keys of scripts, targets, prices, and the simulator's profiles; a former name stands for the first of its new
names that its table has. `WORDS`: values of a fixed list. `METRICS`, `FILTERS`, and `TURN_TYPES`: what thresholds name.
`STEPS`, `OF_TURNS`, and `SETTINGS`: what tasks in Python call and read of a turn, and what their class sets.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

STEPS: Mapping[str, str] = {"say": "text", "play": "audio", "respond": "request_response", "hear": "wait_for"}
OF_TURNS: Mapping[str, str] = {"said": "input_text", "replied": "reply_text"}
SETTINGS: Mapping[str, str] = {"limits": "timeouts", "background": "background_noise"}

_PRICES = {
    f"{kind}_{old}": f"{kind}_{new}"
    for kind in ("text", "audio", "image")
    for old, new in (("in", "input"), ("cached", "cached_input"), ("out", "output"))
}
_OF_ONE: Mapping[str, str] = {
    **STEPS,
    "label": "name",
    "words": "transcript",
    "calls": "expected_calls",
    "verify": "verify_truncation",
    "share": "after_share",
    "word": "after_text",
    "most": "max",
    "begin": "start",
    "background": "background_noise",
    "noise": "file",
    "speech": "end_of_turn",
    "done": "response",
    "key_env": "api_key_env",
    "ca": "ca_file",
    **_PRICES,
    "rate_limits": "rate_limits_updated",
    "servers": "max_concurrent_responses",
    "speed": "generation_speed",
    "expires_after_s": "max_session_s",
    "parts": "preamble",
    "least_tokens": "min_tokens",
    "least_speech_ms": "min_speech_ms",
    "ignores": "ignored_barge_in_share",
    "truncates_ignored": "ignored_truncate_share",
    "context": "context_latency",
    "wrong_words": "word_error_rate",
    "failed": "failure_rate",
    "connections_per_min": "connections_per_minute",
    "requests_per_min": "requests_per_minute",
    "tokens_per_min": "tokens_per_minute",
    "for_s": "duration_s",
}
METRICS: Mapping[str, str] = {
    "failures": "failure_rate",
    "failed": "failure_rate",
    "throttled": "throttle_rate",
    "stalled": "stall_rate",
    "turn_detection": "end_of_turn_delay",
    "speech_detected": "start_of_speech_delay",
    "answer_first_audio": "answer_ttfa",
    "function_named": "function_call_added",
    "function_call": "function_call_done",
    "function_time": "function_execution",
    "function_answer": "function_answer_ttfa",
    "function_voice_to_voice_less_own": "function_voice_to_voice_minus_execution",
    "ttfa_less_rtt": "ttfa_minus_rtt",
    "barge_in_detected": "barge_in_detection",
    "barge_in_quiet": "barge_in_last_audio",
    "barge_in_cancelled": "barge_in_response_done",
    "audio_wasted": "unplayed_audio",
    "stall": "stall_duration",
    "stalls": "stall_count",
    "token_wait": "auth_wait",
    "first_answer_cold": "connect_to_first_audible",
    "history": "history_load",
    "session_length": "session_duration",
    "truncated_right_rate": "truncation_correct_rate",
    "false_response_rate": "false_reply_rate",
    "task_success": "task_success_rate",
    "ttfa_centre": "ttfa_typical_change",
}
FILTERS: Mapping[str, str] = {"traits": "turn_type", "origin": "measured_from"}
TURN_TYPES: Mapping[str, str] = {"plain": "regular", "calls": "function_calls"}
KEYS: Mapping[str, tuple[str, ...]] = {
    "limits": ("timeouts", "quota"),
    **{old: (new,) for old, new in _OF_ONE.items()},
}
WORDS: Mapping[str, str] = {
    "aside": "talking_to_others",
    "missing": "drop",
    "doubled": "duplicate",
    "swapped": "reorder",
    "silence": "hang",
    "huge": "oversized",
    "dead_token": "expired_token",
    "no_role": "missing_role",
}


def current_key(key: str, allowed: Container[str]) -> str | None:
    """Return the new name of a former key in a table of the allowed keys; None if it is no former key there."""
    return next((new for new in KEYS.get(key, ()) if new in allowed), None)


def current_word(word: object, allowed: Container[str]) -> str | None:
    """Return the new word for a former one, if it is one of the allowed words."""
    new = WORDS.get(word) if isinstance(word, str) else None
    return new if new is not None and new in allowed else None
