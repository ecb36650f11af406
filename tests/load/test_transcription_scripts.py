"""The checks of scripts for sessions that only transcribe, before the first session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.base.errors import UsageError
from bench.catalogue.pricing import Prices
from bench.load.planning.cost_estimate import session_cost
from bench.load.planning.lacking import missing_features
from bench.load.planning.tasks import script
from bench.load.planning.workload import load_scripts, script_facts, workloads_of_targets
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import Script, load_script
from bench.target.price_table import load_price_table
from bench.target.target import Target
from tests.helpers import resolve_target
from tests.load.actors import actor, tone

ONLY = resolve_target({}, url="ws://localhost:1/v1/realtime?intent=transcription")
PREVIEW_ONLY = resolve_target(
    {}, url="ws://localhost:1/openai/realtime?api-version=2025-04-01-preview&intent=transcription"
)
OPENAI = resolve_target(
    {"K": "sk-1234567890"}, url="wss://api.openai.com/v1/realtime?model=x", api_key_env="K"
)
AUDIO = "steps: [{audio: a.wav}]"
TABLE = (
    "{model: gpt-live-transcribe, languages: [en, de], delay: low, keywords: [parcel], prompt: A"
    " shop.}"
)


def compiled(folder: Path, text: str, target: Target = ONLY) -> CompiledScript:
    """Return the script of this text, prepared for a target."""
    tone(folder / "a.wav")
    path = folder / "talk.yaml"
    path.write_text(text)
    workloads = workloads_of_targets(load_scripts([actor("One", script(path))]), [target])
    (prepared,) = workloads[target.label].values()
    return prepared


def update(prepared: CompiledScript) -> dict[str, Any]:
    """Return the event that sets the session up."""
    events = prepared.prepare_session(0, 0).setup_messages
    (event,) = (msgspec.json.decode(event.data) for event in events if hasattr(event, "data"))
    decoded: dict[str, Any] = event
    return decoded


def test_the_settings_are_those_of_the_sdk(tmp_path: Path) -> None:
    event = update(
        compiled(
            tmp_path, f"session: {{output: transcript, input_transcription: {TABLE}}}\n{AUDIO}"
        )
    )

    assert (event["type"], event["session"]["type"]) == ("session.update", "transcription")
    assert event["session"].keys() == {"type", "audio"}
    assert event["session"]["audio"] == {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "turn_detection": None,
            "transcription": {
                "model": "gpt-live-transcribe",
                "languages": ["en", "de"],
                "delay": "low",
                "keywords": ["parcel"],
                "prompt": "A shop.",
            },
        }
    }


def test_the_preview_has_a_flat_session(tmp_path: Path) -> None:
    text = f"session: {{input_transcription: whisper-1, turn_detection: server_vad}}\n{AUDIO}"
    event = update(compiled(tmp_path, text, PREVIEW_ONLY))

    assert event["type"] == "transcription_session.update"
    assert event["session"] == {
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {"type": "server_vad"},
    }


def test_a_voice_script_runs_at_an_address_that_only_transcribes(tmp_path: Path) -> None:
    detection = (
        "{type: server_vad, silence_duration_ms: 300, create_response: false, interrupt_response:"
        " false}"
    )
    session = (
        "{voice: alloy, instructions: Be brief., input_transcription: m, turn_detection:"
        f" {detection}}}"
    )
    prepared = compiled(tmp_path, f"session: {session}\n{AUDIO}")

    own = update(prepared)["session"]["audio"]["input"]["turn_detection"]
    assert own == {"type": "server_vad", "silence_duration_ms": 300}
    (turn,) = prepared.prepare_session(0, 0).turns
    assert (
        turn.plan.only_transcribed,
        turn.plan.vad,
        turn.plan.service_responds,
        turn.request,
    ) == (
        True,
        True,
        False,
        None,
    )


SET = "session: {output: transcript, input_transcription: m}"
REFUSED: dict[str, tuple[str, Target, str]] = {
    "a text turn": (
        f"{SET}\nsteps: [{{text: Hi}}]",
        ONLY,
        "step 1 is a text turn, but a session with",
    ),
    "a request": (
        f"{SET}\nsteps: [{{audio: a.wav}}, {{request_response: {{}}}}]",
        ONLY,
        "requests an answer",
    ),
    "a message": (
        f"{SET}\nsteps: [{{message: {{role: user, text: Hi}}}}, {{audio: a.wav}}]",
        ONLY,
        "adds a message",
    ),
    "an interruption": (
        f"{SET}\nsteps: [{{audio: a.wav}}, {{interrupt: {{after: 1}}}}]",
        ONLY,
        "interrupts a reply",
    ),
    "functions": (f"{SET}\ntools: {{f: {{returns: 1}}}}\n{AUDIO}", ONLY, "declares functions"),
    "a reference of the reply": (
        f"{SET}\nsteps: [{{audio: a.wav, expected_reply: Hi}}]",
        ONLY,
        "what the reply must",
    ),
    "an output of a turn": (
        f"{SET}\nsteps: [{{audio: a.wav, output: text}}]",
        ONLY,
        "what the reply must",
    ),
    "a new session": (f"{SET}\nrenew_after: 10\n{AUDIO}", ONLY, "continues in another session"),
    "an event of a reply": (
        f"{SET}\nsteps: [{{audio: a.wav}}, {{expect: {{event: audio_delta, within: 1}}}}]",
        ONLY,
        "audio_delta can never be received: the turn before it gets no reply",
    ),
    "a voice": (
        f"session: {{output: transcript, input_transcription: m, voice: alloy}}\n{AUDIO}",
        ONLY,
        "voice is about replies",
    ),
    "no model": (f"session: {{output: transcript}}\n{AUDIO}", ONLY, "needs `input_transcription`"),
    "no model at an address": (AUDIO, ONLY, "needs `input_transcription`"),
    "a VAD of a model without one": (
        (
            "session: {input_transcription: gpt-live-transcribe, turn_detection:"
            f" server_vad}}\n{AUDIO}"
        ),
        ONLY,
        "turn_detection must be none: gpt-live-transcribe detects no turns",
    ),
    "an address with replies": (
        f"{SET}\n{AUDIO}",
        OPENAI,
        "needs another address at api.openai.com",
    ),
}


@pytest.mark.parametrize(("text", "target", "words"), REFUSED.values(), ids=REFUSED)
def test_what_a_session_that_only_transcribes_cannot_do_is_refused_in_one_line(
    text: str, target: Target, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        compiled(tmp_path, text, target)

    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_target_that_only_transcribes_cannot_have_replies(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only transcribes"):
        compiled(
            tmp_path,
            AUDIO,
            replace(ONLY, session={"output": "text"}, session_source="targets.yaml:3"),
        )


def test_metrics_of_replies_are_lacking_and_those_of_transcripts_are_not(tmp_path: Path) -> None:
    known = missing_features(compiled(tmp_path, f"{SET}\n{AUDIO}"), arrives=False)

    assert known is not None
    (lacks,) = [turn["lacks"] for turn in known["turns"]]
    assert (
        lacks["first_audio"]
        == "the session only transcribes, so there are no replies (`output: transcript`)"
    )
    assert (
        not {"input_transcribed", "first_input_transcript", "transcript_lag_ns", "speech_end"}
        & lacks.keys()
    )
    assert known["session"]["first_audible"] == "the session only transcribes"


def test_the_facts_of_a_script_have_its_output(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    (tmp_path / "talk.yaml").write_text(f"{SET}\n{AUDIO}")
    plays = workloads_of_targets(
        load_scripts([actor("One", script(tmp_path / "talk.yaml"))]), [ONLY]
    )

    assert [fact["output"] for fact in script_facts(plays)] == ["transcript"]


def test_transcription_is_estimated_by_the_minute_of_audio(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav", seconds=3.0)
    (tmp_path / "talk.yaml").write_text(
        "session: {output: transcript, input_transcription: gpt-live-transcribe}\n"
        "steps: [{audio: a.wav, paced: false}, {pause: 60}, {audio: a.wav}]"
    )
    scripts: list[Script] = [load_script(tmp_path / "talk.yaml")]
    table = load_price_table(None)
    cost = session_cost(ONLY, scripts, table.models, table.as_of)

    assert cost.usd == pytest.approx((0.017 * 6 / 60,) * 2)
    assert (cost.model, cost.transcribed) == ("gpt-live-transcribe", False)
    by_tokens = {"gpt-live-transcribe": Prices(1, 1, 1, 1, 1, 1)}
    assert session_cost(ONLY, scripts, by_tokens, "").usd is None
