"""Further settings are merged into the update of a session as they are, but for what the harness goes by."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.protocol.base import ClientMessage, Dialect
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.protocol.settings import SessionSettings, TurnDetection, merged

VAD = TurnDetection(silence_duration_ms=400)


def said(dialect: Dialect, **settings: Any) -> Any:
    (update,) = (step for step in dialect.set_up(SessionSettings(**settings), "e") if isinstance(step, ClientMessage))
    return msgspec.json.decode(update.data)["session"]


def conflict(dialect: Dialect, settings: SessionSettings) -> tuple[tuple[str, ...], str] | None:
    """(where `extra` sets what the harness goes by, what to do instead), as the dialect refuses it."""
    refused = dialect.refuses(settings)
    if refused is None:
        return None
    above, *place = refused.setting
    assert above == "extra"
    told, remedy = refused.problem.removeprefix("extra must not set ").split(", which this tool relies on: ")
    assert told == ".".join(place)
    return tuple(place), remedy


def test_mappings_merge_key_by_key_and_anything_else_replaces() -> None:
    settings = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1}}

    assert merged(settings, {"a": {"c": {"h": None}}, "e": [2], "f": None, "i": {}}) == {
        "a": {"b": 1, "c": {"d": 2, "h": None}},
        "e": [2],
        "f": None,
        "i": {},
    }
    assert settings == {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1}}


def test_ga_says_extra_beside_what_the_tool_knows() -> None:
    extra = {"tool_choice": "none", "audio": {"input": {"noise_reduction": {"type": "near_field"}}}}
    plain, more = said(GA), said(GA, extra=extra)

    assert more == merged(plain, extra)
    assert more["audio"]["input"]["format"] == plain["audio"]["input"]["format"]


def test_preview_says_a_voice_that_is_an_object_and_a_detector_of_its_own() -> None:
    voice = {"type": "azure-standard", "name": "en-US-Ava:DragonHDLatestNeural"}
    extra = {"voice": voice, "turn_detection": {"type": "azure_semantic_vad", "remove_filler_words": True}}
    session = said(PREVIEW, voice="alloy", turn_detection=VAD, extra=extra)

    assert session["voice"] == voice
    assert session["turn_detection"] == {
        "type": "azure_semantic_vad",
        "silence_duration_ms": 400,
        "remove_filler_words": True,
    }


@pytest.mark.parametrize(
    ("dialect", "path", "remedy"),
    [(GA, *kept) for kept in GA.kept.items()] + [(PREVIEW, *kept) for kept in PREVIEW.kept.items()],
)
def test_what_the_harness_goes_by_cannot_be_set_nor_replaced_with_what_holds_it(
    dialect: Dialect, path: tuple[str, ...], remedy: str
) -> None:
    for depth in range(1, len(path) + 1):
        extra: Any = None
        for key in reversed(path[:depth]):
            extra = {key: extra}
        settings = SessionSettings(turn_detection=VAD, input_transcription="whisper-1", extra=extra)
        place, advice = conflict(dialect, settings) or ((), "")
        assert place == path[:depth]
        assert advice == remedy or depth < len(path)


def test_what_is_switched_off_cannot_be_refined() -> None:
    for dialect, extra in (
        (PREVIEW, {"turn_detection": {"type": "azure_semantic_vad"}}),
        (GA, {"audio": {"input": {"turn_detection": {"threshold": 0.3}}}}),
    ):
        assert conflict(dialect, SessionSettings(turn_detection=VAD, extra=extra)) is None
        _, remedy = conflict(dialect, SessionSettings(extra=extra)) or ((), "")
        assert remedy == "use `turn_detection`"
    language = {"audio": {"input": {"transcription": {"language": "de"}}}}
    assert conflict(GA, SessionSettings(input_transcription="whisper-1", extra=language)) is None
    assert conflict(GA, SessionSettings(extra=language)) is not None


def test_the_words_of_the_other_dialect_are_the_service_s_to_refuse() -> None:
    assert conflict(GA, SessionSettings(extra={"modalities": ["text"]})) is None
