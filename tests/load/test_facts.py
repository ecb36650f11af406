"""What run.json says of targets and scripts, before the first session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.load.planning.plays import loaded_scripts, prepared_plays, script_facts, script_notices, target_facts
from bench.load.planning.tasks import script
from bench.money import Prices
from bench.plan.script import Script
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.target.credentials import Credential
from bench.target.target import Entra
from bench.transport.interface import NetworkPath, Proxy
from tests.helpers import resolve_target
from tests.load.actors import Actor, actor, tone

HERE = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=x")


def talk(folder: Path, text: str = "steps:\n  - text: Hello\n") -> Path:
    (folder / "talk.yaml").write_text(text)
    return folder / "talk.yaml"


def order(actor: Actor) -> None:
    actor.text("A pizza for ${name}, please", name="order")


def pay(actor: Actor) -> None:
    actor.text("Here you are", name="pay")


def scripts_of(*classes: type) -> list[Script]:
    return list(loaded_scripts(classes).values())


def facts(*classes: type) -> list[dict[str, Any]]:
    return script_facts({"here": prepared_plays(loaded_scripts(classes), GA)})


def test_names_in_a_script_without_variables_are_told(tmp_path: Path) -> None:
    path = talk(tmp_path, "steps:\n  - text: 'Ask ${name} for ${price}.'\n")
    notices = script_notices(scripts_of(actor("One", script(path)), actor("Other", script(path)), actor("Caller", pay)))

    assert notices == [
        f"talk: text contains ${{{name}}} and the script has no variables: it is sent as it stands"
        for name in ("name", "price")
    ]


@pytest.mark.parametrize(
    ("session", "notices"),
    [
        ("{}", ["talk: `transcript` cannot be checked, because session.input_transcription is not set"]),
        ("{input_transcription: whisper-1}", []),
    ],
)
def test_words_that_nothing_is_held_against_are_told(session: str, notices: list[str], tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    path = talk(tmp_path, f"session: {session}\nsteps:\n  - {{audio: a.wav, transcript: Hello}}\n")

    assert script_notices(scripts_of(actor("One", script(path)))) == notices


def test_facts_say_how_a_script_is_heard_and_spoken(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    (tmp_path / "rows.csv").write_text("name\nAda\nBob\n")
    path = talk(tmp_path, (
        "session: {turn_detection: semantic_vad, input_format: g711_ulaw, output_format: g711_alaw}\n"
        "variables: rows.csv\nbackground_noise: {file: a.wav, snr_db: 15}\njitter_buffer_ms: 80\n"
        "steps:\n  - audio: a.wav\n    chunk_ms: 40\n  - text: Hello\n    output: text\n"))  # fmt: skip
    (fact,) = facts(actor("One", script(path)))

    assert fact["turn_detection_settings"] == {"type": "semantic_vad"}
    assert {key: fact[key] for key in ("turn_detection", "input_format", "output_format", "jitter_buffer_ms")} == {
        "turn_detection": "semantic_vad",
        "input_format": "g711_ulaw",
        "output_format": "g711_alaw",
        "jitter_buffer_ms": 80,
    }
    assert (fact["background_snr_db"], fact["variables"]) == (15, 2)
    assert (fact["turns"], fact["chunk_ms"], fact["output"]) == (2, 40, "audio")


def test_facts_hold_all_that_a_script_sets_of_turn_detection(tmp_path: Path) -> None:
    settings = "{type: server_vad, silence_duration_ms: 500, create_response: false}"
    path = talk(tmp_path, f"session: {{turn_detection: {settings}}}\nsteps:\n  - text: Hello\n")
    (fact,) = facts(actor("One", script(path)))

    assert fact["turn_detection"] == "server_vad"
    assert fact["turn_detection_settings"] == {
        "type": "server_vad",
        "silence_duration_ms": 500,
        "create_response": False,
    }


def test_facts_say_how_long_a_caller_thinks_where_a_session_has_an_end(tmp_path: Path) -> None:
    def talk_on(actor: Actor) -> None:
        while True:
            actor.text("Hello")
            actor.pause(1)

    path = talk(tmp_path, "steps:\n  - text: Hello\n  - pause: 0.5\n  - pause: {median: 2, sigma: 0.5}\n")
    of_plays = facts(actor("One", script(path)), actor("Payer", pay), actor("Talker", talk_on))

    assert [fact["think_s"] for fact in of_plays] == [2.766, 0, None]


def test_facts_hold_further_settings_as_they_are_played(tmp_path: Path) -> None:
    path = talk(tmp_path, "session: {extra: {a: {b: 1}}}\nsteps:\n  - text: Hello\n")
    parts = loaded_scripts([actor("One", script(path))])
    varied = prepared_plays(parts, GA, {"extra": {"a": {"c": None}}}, "targets.yaml:3")

    assert [fact["extra"] for fact in script_facts({"here": prepared_plays(parts, GA), "there": varied})] == [
        {"a": {"b": 1}},
        {"a": {"b": 1, "c": None}},
    ]


def test_facts_of_a_plain_script_say_what_it_does_without(tmp_path: Path) -> None:
    (fact,) = facts(actor("One", script(talk(tmp_path))))

    assert (fact["turn_detection"], fact["background_snr_db"], fact["variables"]) == ("none", None, None)
    assert fact["turn_detection_settings"] is None
    assert (fact["name"], fact["scenario"], fact["chunk_ms"]) == ("talk", "scenario", None)


def test_a_script_that_two_classes_play_stands_once_among_the_facts(tmp_path: Path) -> None:
    path = talk(tmp_path)

    assert len(facts(actor("One", script(path)), actor("Other", script(path)))) == 1


def test_facts_of_a_script_stand_there_for_each_target(tmp_path: Path) -> None:
    parts = loaded_scripts([actor("One", script(talk(tmp_path)))])
    quick = prepared_plays(parts, GA, {"turn_detection": "server_vad"}, "targets.yaml:3")
    of_plays = script_facts({"here": prepared_plays(parts, PREVIEW), "there": quick})

    assert [(fact["target"], fact["dialect"], fact["turn_detection"]) for fact in of_plays] == [
        ("here", "preview", "none"),
        ("there", "ga", "server_vad"),
    ]


def test_facts_of_a_target_hold_no_secret() -> None:
    proxy = Proxy("http", "proxy.example", 8080, "ann-of-the-proxy", "hush-hush")
    secretive = replace(
        HERE,
        auth=Credential("api-key", "sk-secret-key"),
        headers=(("x-tenant", "confidential"),),
        network_path=NetworkPath(proxy=proxy, address="127.0.0.1", deflate=True),
        prices=Prices(1, 2, 3, 4, 5, 6),
        session={"voice": "verse"},
        variant_of="west",
    )
    fact = target_facts(secretive, 30.0)

    assert not any(
        secret in repr(fact) for secret in ("sk-secret-key", "confidential", "hush-hush", "ann-of-the-proxy")
    )
    assert (fact["auth"], fact["proxy"]) == ("key", "http://proxy.example:8080")
    assert (fact["address"], fact["deflate"], fact["connect_rate"]) == ("127.0.0.1", True, 30.0)
    assert fact["prices"]["audio_output"] == 6
    assert (fact["variant_of"], fact["session"]) == ("west", {"voice": "verse"})


def test_signing_in_is_called_as_its_option_calls_it() -> None:
    chain, identity = Entra("scope"), Entra("scope", "managed_identity")

    assert [target_facts(replace(HERE, auth=auth), None)["auth"] for auth in (None, chain, identity)] == [
        None,
        "entra",
        "managed_identity",
    ]
