"""Prepared scripts: the messages that a session sends, and when it sends them."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bench.base.errors import ScriptError, UsageError
from bench.catalogue.timeouts import Timeouts
from bench.files.yaml_file import parsed_yaml
from bench.load.execution.pairs import ORDERS
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import (
    PreparedEvent,
    PreparedExpectation,
    PreparedPause,
    PreparedScript,
    PreparedTurn,
)
from bench.plan.random_choices import LogNormalTimes, RecordedTimes, SessionChoices, VariableRows
from bench.plan.recordings import BackgroundNoise, Pcm, SpeechSpan
from bench.plan.script import Script, load_script
from bench.plan.steps import ExpectSettings, ExpectStep, PauseStep, SendStep
from bench.plan.turns import AudioTurn, RequestTurn, Step, TextTurn
from bench.services.openai.dialect import FORMATS, GA
from bench.services.openai.preview import PREVIEW
from bench.services.openai.track import GA_NARROW_TRACK, GA_TRACK
from bench.services.registry import DIALECTS
from bench.services.voice_live import VOICE_LIVE
from bench.transport.fast import _sending_interpreted, sending
from bench.wire.audio import AudioFormatName
from bench.wire.dialect import AwaitedEvent, ClientMessage, Dialect, MessageKind
from bench.wire.events import EventKind
from bench.wire.settings import ResponseSettings, SessionSettings, TurnDetection
from tests.examples import few, thorough
from tests.helpers import FAMILIES, IN_GA, REALTIME, png, request_name

PLAIN = ResponseSettings()
VAD = TurnDetection()
MS = 1_000_000


def build_script(
    *steps: Step,
    background: BackgroundNoise | None = None,
    variables: VariableRows | None = None,
    written: str = "{}",
    **session: Any,
) -> Script:
    settings = SessionSettings(**session)
    return Script(
        name="talk",
        path=Path("talk.yaml"),
        digest="d1",
        session=settings,
        timeouts=Timeouts(response=7),
        steps=steps,
        background_noise=background,
        variables=variables,
        jitter_buffer_ms=62.5,
        written=parsed_yaml(Path("talk.yaml"), written, "the script"),
    )


def build_pcm(samples: int = 6_000, speech: SpeechSpan | None = None, name: str = "a") -> Pcm:
    data = np.arange(1, samples + 1, dtype=np.uint16).tobytes()
    return Pcm(Path(f"{name}.wav"), f"{name}{samples}", data, speech or SpeechSpan(0, samples))


def build_wav(
    samples: int = 6_000,
    *,
    chunk_ms: int = 100,
    paced: bool = True,
    speech: SpeechSpan | None = None,
) -> AudioTurn:
    return AudioTurn((build_pcm(samples, speech),), name="words", chunk_ms=chunk_ms, paced=paced)


def prepared(script: Script, dialect: Dialect = GA) -> PreparedScript:
    return CompiledScript(script, dialect).prepare_session(0, 0)


def prepared_turn(step: Step, **session: Any) -> PreparedTurn:
    (turn,) = prepared(build_script(step, **session)).turns
    return turn


def decoded(data: bytes) -> dict[str, Any]:
    message: dict[str, Any] = msgspec.json.decode(data)
    return message


def audio_of(messages: Sequence[ClientMessage]) -> bytes:
    return b"".join(base64.b64decode(decoded(message.data)["audio"]) for message in messages)


def sent(turns: Sequence[PreparedTurn]) -> list[dict[str, Any]]:
    return [
        decoded(message.data)
        for turn in turns
        for message in (*turn.speech, *turn.inputs, *((turn.request,) if turn.request else ()))
    ]


def test_a_text_turn_is_an_item_and_a_request() -> None:
    turn = prepared_turn(
        TextTurn("Hello", name="greeting", response=ResponseSettings(max_output_tokens=9))
    )

    assert (turn.plan.number, turn.plan.step, turn.kind, turn.chunk_ns) == (
        1,
        "greeting",
        "text",
        None,
    )
    (item,) = turn.inputs
    assert (item.name, item.duration_ns, item.audio_bytes) == ("conversation.item.create", None, 0)
    assert decoded(item.data)["item"]["content"] == [{"type": "input_text", "text": "Hello"}]
    assert turn.request is not None
    assert (turn.request.name, turn.request.duration_ns) == ("response.create", None)
    assert decoded(turn.request.data)["response"] == {"max_output_tokens": 9} | request_name(
        GA, "turn-1-response"
    )


def test_a_turn_without_input_is_only_a_request() -> None:
    turn = prepared_turn(RequestTurn(ResponseSettings(instructions="Help."), name="assist"))

    assert (turn.kind, turn.speech, turn.inputs) == ("none", (), ())
    assert turn.request is not None
    assert decoded(turn.request.data)["response"] == {"instructions": "Help."} | request_name(
        GA, "turn-1-response"
    )


def test_a_paced_wav_is_sent_in_chunks_and_then_committed() -> None:
    turn = prepared_turn(build_wav(6_000, chunk_ms=100))

    assert (turn.kind, turn.chunk_ns, turn.plan.vad) == ("audio", 100 * MS, False)
    assert sum(message.duration_ns or 0 for message in turn.speech) == 250 * MS
    assert [message.name for message in turn.speech] == ["input_audio_buffer.append"] * 3
    assert [message.duration_ns for message in turn.speech] == [100 * MS, 100 * MS, 50 * MS]
    assert [message.audio_bytes for message in turn.speech] == [4_800, 4_800, 2_400]
    (commit,) = turn.inputs
    assert (commit.name, commit.duration_ns, commit.audio_bytes) == (
        "input_audio_buffer.commit",
        None,
        0,
    )
    assert decoded(commit.data)["type"] == "input_audio_buffer.commit"
    assert (turn.plan.audio, turn.silence_chunks) == ("a.wav", ())
    assert turn.request is not None


def test_an_unpaced_wav_has_no_durations() -> None:
    turn = prepared_turn(build_wav(paced=False))

    assert (turn.chunk_ns, turn.speech) == (None, ())
    assert {message.duration_ns for message in turn.inputs} == {None}
    assert not any(message.instants for message in turn.inputs)


@thorough
@given(samples=st.integers(1, 20_000), chunk_ms=st.integers(20, 200))
def test_the_append_messages_contain_the_whole_wav(samples: int, chunk_ms: int) -> None:
    wav = build_wav(samples, chunk_ms=chunk_ms)
    speech = prepared_turn(wav).speech

    assert audio_of(speech) == wav.audio[0].data
    assert [len(audio_of([message])) for message in speech] == [
        message.audio_bytes for message in speech
    ]


# Audio for a service with turn detection.


def test_a_turn_that_a_vad_ends_has_only_speech() -> None:
    turn = prepared_turn(build_wav(6_000), turn_detection=VAD)

    assert (turn.plan.vad, turn.inputs, turn.request, turn.kind) == (True, (), None, "audio")
    assert [message.duration_ns for message in turn.speech] == [100 * MS] * 3
    assert audio_of(turn.speech)[12_000:] == bytes(2_400)  # the last chunk is padded with silence


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("chunk_ms", [20, 200])
def test_an_open_microphone_sends_silence_between_turns(
    format: AudioFormatName, chunk_ms: int
) -> None:
    script = prepared(
        build_script(build_wav(chunk_ms=chunk_ms), turn_detection=VAD, input_format=format)
    )
    wire = FORMATS[format]

    (message,) = script.silence_chunks
    assert script.turns[0].silence_chunks == script.silence_chunks
    assert message.duration_ns == chunk_ms * MS
    assert message.audio_bytes == wire.bytes_per_s * chunk_ms // 1_000
    # A-law has no code for zero
    assert np.abs(wire.decode(audio_of([message])).astype(int)).max() <= 8
    assert not message.instants


def test_background_noise_continues_between_turns_in_whole_chunks() -> None:
    noise = BackgroundNoise(build_pcm(30_000, name="noise"), 20)
    script = prepared(build_script(build_wav(chunk_ms=30), turn_detection=VAD, background=noise))

    assert len(script.silence_chunks) == 5_000 // 30
    assert {message.duration_ns for message in script.silence_chunks} == {30 * MS}
    assert any(audio_of(script.silence_chunks))


# The start and the end of speech.


@pytest.mark.parametrize("chunk_ms", [20, 50, 100, 200])
@pytest.mark.parametrize("trailing_ms", [0, 300])
@pytest.mark.parametrize("detection", [None, VAD])
@pytest.mark.parametrize("format", FORMATS)
@few
@given(begin=st.integers(0, 11_999), length=st.integers(1, 12_000))
def test_the_instants_of_speech_do_not_depend_on_chunks(
    chunk_ms: int,
    trailing_ms: int,
    detection: Any,
    format: AudioFormatName,
    begin: int,
    length: int,
) -> None:
    speech = SpeechSpan(begin, begin + length)
    wav = build_wav(24_000 + 24 * trailing_ms, chunk_ms=chunk_ms, speech=speech)
    recorded_ns, edges = 0, dict[str, int]()
    for message in prepared_turn(wav, turn_detection=detection, input_format=format).speech:
        assert message.duration_ns is not None
        recorded_ns += message.duration_ns
        edges |= {name: recorded_ns - before_ns for name, before_ns in message.instants.items()}
        assert all(0 <= before_ns < message.duration_ns for before_ns in message.instants.values())

    assert edges == {
        "speech_start": (begin + 1) * 1_000_000_000 // 24_000,
        "speech_end": (begin + length) * 1_000_000_000 // 24_000,
    }


@thorough
@given(
    pause_ms=st.integers(140, 1_200),
    last_ms=st.integers(60, 400),
    after_ms=st.integers(0, 400),
    chunk_ms=st.sampled_from([20, 100, 200]),
)
def test_a_tolerance_separates_the_end_of_speech_from_its_last_pause(
    pause_ms: int, last_ms: int, after_ms: int, chunk_ms: int
) -> None:
    lengths = [(0, 100), (5_000, 700), (0, pause_ms), (5_000, last_ms), (0, after_ms)]
    data = np.concatenate([np.full(24 * ms, level, "<i2") for level, ms in lengths])
    # The start of the last word. A VAD that stops at the pause has received the audio up to there
    # at most, silence included.
    begin_ms = 800 + pause_ms
    end_ms = begin_ms + last_ms
    pcm = Pcm(Path("a.wav"), "a", data.tobytes(), SpeechSpan(2_400, 24 * end_ms))
    tail_ns = prepared_turn(
        AudioTurn((pcm,), name="words", chunk_ms=chunk_ms), turn_detection=VAD
    ).plan.end_tolerance_ns

    assert begin_ms + 20 <= end_ms - tail_ns / MS <= end_ms - 20
    assert abs(tail_ns - last_ms * MS // 2) <= MS


@pytest.mark.parametrize(
    ("session", "turn", "wanted"),
    [
        ("audio", None, True),
        ("text", None, False),
        ("audio", "text", False),
        ("text", "audio", True),
    ],
)
def test_a_turn_s_output_overrides_the_session_s(session: str, turn: Any, wanted: bool) -> None:
    assert (
        prepared_turn(
            TextTurn("b", name="a", response=ResponseSettings(output=turn)), output=session
        ).plan.wants_audio
        is wanted
    )


def test_turns_are_numbered_across_pauses_and_expectations() -> None:
    pause, expect = PauseStep(5), ExpectStep(ExpectSettings("audio_delta", 3))
    script = prepared(
        build_script(TextTurn("b", name="a"), expect, pause, RequestTurn(PLAIN, name="c"))
    )

    first, second, third, fourth = script.steps
    assert (second, third) == (PreparedExpectation("audio_delta", 3), PreparedPause(5_000_000_000))
    assert script.turns == (first, fourth)
    assert [turn.plan.number for turn in script.turns] == [1, 2]


def test_event_ids_are_unique_and_begin_with_the_prefix_of_their_turn() -> None:
    turns = prepared(build_script(*(build_wav() for _ in range(11)))).turns
    ids = [message["event_id"] for message in sent(turns)]

    assert len(set(ids)) == len(ids)
    for turn in turns:
        own = [message["event_id"] for message in sent([turn])]
        assert [event_id for event_id in ids if event_id.startswith(turn.plan.event_prefix)] == own


def update_of(script: PreparedScript) -> ClientMessage:
    """Return the message that sets up the session. Fail if there are several."""
    (update,) = (step for step in script.setup_messages if isinstance(step, ClientMessage))
    return update


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_session_settings_are_written_in_the_dialect(dialect: Dialect) -> None:
    script = prepared(
        build_script(RequestTurn(ResponseSettings(output="text"), name="a"), voice="alloy"), dialect
    )
    session = decoded(update_of(script).data)["session"]
    voice = session["voice"] if "voice" in session else session["audio"]["output"]["voice"]
    request = script.turns[0].request
    assert request is not None

    assert voice == "alloy"
    assert decoded(request.data)["response"] == {
        "output_modalities" if FAMILIES[dialect] is IN_GA else "modalities": ["text"]
    } | request_name(dialect, "turn-1-response")
    assert (script.name, script.dialect, script.limits.response, script.jitter_buffer_ns) == (
        "talk",
        dialect,
        7,
        62_500_000,
    )
    assert not any(
        turn.plan.event_prefix in decoded(update_of(script).data)["event_id"]
        for turn in script.turns
    )


@pytest.mark.parametrize(
    ("setting", "place", "spoken_by", "refused_by", "session"),
    [
        ("temperature", "3:2", PREVIEW, GA, {"temperature": 0.8}),
        (
            "idle_timeout_ms",
            "2:19",
            GA,
            PREVIEW,
            {"turn_detection": TurnDetection(idle_timeout_ms=6_000)},
        ),
        ("reasoning", "4:2", GA, PREVIEW, {"reasoning": {"effort": "low"}}),
        ("truncation", "5:2", GA, PREVIEW, {"truncation": "disabled"}),
    ],
)
def test_a_setting_that_another_dialect_lacks_is_refused_with_its_position(
    setting: str, place: str, spoken_by: Dialect, refused_by: Dialect, session: dict[str, Any]
) -> None:
    written = (
        "session:\n turn_detection: {idle_timeout_ms: 6000}\n temperature: 0.8\n"
        " reasoning: {effort: low}\n truncation: disabled\n"
    )
    script = build_script(RequestTurn(PLAIN, name="a"), written=written, **session)

    assert setting in update_of(prepared(script, spoken_by)).data.decode()
    with pytest.raises(
        ScriptError, match=rf"^talk\.yaml:{place}: {setting} needs the (?i:{spoken_by.name}) "
    ):
        CompiledScript(script, refused_by)


@pytest.mark.parametrize(
    ("dialect", "written", "place", "words"),
    [
        (
            GA,
            "{audio: {input: {format: {}}}}",
            "3:20",
            "audio.input.format, which this tool relies on: use `input_format`",
        ),
        (GA, "{audio: null}", "3:4", "audio, which this tool relies on: use `input_format`"),
        (
            PREVIEW,
            "{turn_detection: {type: server_vad}}",
            "3:4",
            "turn_detection, which this tool relies on: use `turn_",
        ),
    ],
)
def test_extra_must_not_override_settings_that_the_tool_relies_on(
    dialect: Dialect, written: str, place: str, words: str
) -> None:
    extra = YAML(typ="safe", pure=True).load(written)
    script = build_script(
        RequestTurn(PLAIN, name="a"), written=f"session:\n extra:\n  {written}", extra=extra
    )

    with pytest.raises(ScriptError) as refused:
        CompiledScript(script, dialect)
    assert str(refused.value).startswith(f"talk.yaml:{place}: extra must not set {words}")


SERVERS = """mcp_servers:
  docs: {url: https://docs.example.com, allowed_tools: search, require_approval: never, authorization_env: DOCS_TOKEN}
  mail: {connector_id: connector_gmail, description: The caller's mail., approve: true}
  stock: {tunnel_id: tunnel_7}
steps:
- audio: a.wav
"""


@pytest.fixture
def with_servers(tmp_path: Path) -> Path:
    """Return the path of a script with MCP servers."""
    shutil.copy(
        Path(__file__).parents[2] / "scenarios" / "audio" / "late_parcel.wav", tmp_path / "a.wav"
    )
    (tmp_path / "talk.yaml").write_text(SERVERS)
    return tmp_path / "talk.yaml"


def test_mcp_servers_are_tools_of_the_session_whose_lists_are_awaited(with_servers: Path) -> None:
    session = CompiledScript(load_script(with_servers), GA).prepare_session(0, 0)
    mail = {"type": "mcp", "server_label": "mail", "connector_id": "connector_gmail"}

    assert msgspec.json.decode(update_of(session).data)["session"]["tools"] == [
        {
            "type": "mcp",
            "server_label": "docs",
            "server_url": "https://docs.example.com",
            "allowed_tools": ["search"],
            "require_approval": "never",
            "authorization": "{secret:DOCS_TOKEN}",
        },
        mail | {"server_description": "The caller's mail."},
        {"type": "mcp", "server_label": "stock", "tunnel_id": "tunnel_7"},
    ]
    assert session.setup_messages[-1] == AwaitedEvent(
        EventKind.MCP_LISTED, "mcp_list_tools.completed"
    )
    assert session.turns[0].plan.mcp_servers == {"docs": False, "mail": True, "stock": False}


def test_mcp_servers_are_refused_in_a_session_without_replies(with_servers: Path) -> None:
    with_servers.write_text(
        "session: {output: transcript, input_transcription: gpt-4o-transcribe}\n" + SERVERS
    )

    with pytest.raises(
        ScriptError,
        match=r"declares MCP servers \(`mcp_servers`\), but a session with .* no replies",
    ):
        CompiledScript(load_script(with_servers), GA)


WITH_MCP = (GA, GA_TRACK, GA_NARROW_TRACK, VOICE_LIVE, DIALECTS["foundry"])


@pytest.mark.parametrize("dialect", [each for each in DIALECTS.values() if each not in WITH_MCP])
def test_mcp_servers_are_refused_in_one_line_by_all_dialects_without_them(
    dialect: Dialect, with_servers: Path
) -> None:
    if dialect.only_detection:
        with_servers.write_text(f"session: {{turn_detection: {dialect.only_detection}}}\n{SERVERS}")

    with pytest.raises(ScriptError) as refused:
        CompiledScript(load_script(with_servers), dialect)
    expected = rf"{re.escape(str(with_servers))}:\d+:\d+: [^\n]*mcp_servers[^\n]*: remove [^\n]+"
    assert re.fullmatch(expected, str(refused.value))


@pytest.mark.parametrize(
    ("steps", "place", "words"),
    [
        ("- text: hi\n  image: a.png", "1:1", "step 1"),
        ("- text: hi\n- message: {role: user, text: x, image: a.png}", "1:1", "step 2"),
        ("- request_response: {input: [{role: user, text: x, image: a.png}]}", "1:1", "step 1"),
        ("- text: hi\nhistory: h.jsonl", "3:1", "history"),
    ],
)
def test_an_image_is_refused_with_its_position_in_a_dialect_without_images(
    steps: str, place: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png(1, 1))
    (tmp_path / "h.jsonl").write_text('{"role": "user", "text": "x", "image": "a.png"}')
    path = tmp_path / "talk.yaml"
    path.write_text(f"steps:\n{steps}\n")
    script = load_script(path)

    assert b"input_image" in b"".join(
        message.data for message in messages_of(CompiledScript(script, GA).prepare_session(0, 0))
    )
    with pytest.raises(ScriptError) as refused:
        CompiledScript(script, PREVIEW)
    assert (
        str(refused.value)
        == f"{path}:{place}: {words} has an image, which only the GA dialect supports: remove it,"
        " or use --dialect ga"
    )


@pytest.mark.parametrize(
    ("dialect", "session", "words"),
    [
        (GA, {"type": "realtime", "audio": {"output": {"speed": 1.2}}}, ""),
        (GA, {"type": "realtime", "output_modalities": ["audio"]}, ""),
        (
            GA,
            {"type": "transcription"},
            "type, which this tool relies on: only realtime sessions are supported",
        ),
        (
            GA,
            {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}},
            "audio.input.turn_detection, which this",
        ),
        (PREVIEW, {"modalities": ["text"]}, "modalities, which this tool relies on: use `output`"),
        (PREVIEW, {"voice": "verse"}, ""),
    ],
)
def test_a_script_s_event_must_not_override_settings_that_the_tool_relies_on(
    dialect: Dialect, session: dict[str, Any], words: str
) -> None:
    step = SendStep({"type": "session.update", "session": session})
    if not words:
        assert CompiledScript(build_script(RequestTurn(PLAIN, name="a"), step), dialect)
        return

    with pytest.raises(ScriptError) as refused:
        CompiledScript(
            build_script(RequestTurn(PLAIN, name="a"), step, written="steps:\n- send: {}\n"),
            dialect,
        )
    assert str(refused.value).startswith(f"talk.yaml:1:1: send of step 2 must not set {words}")
    with pytest.raises(UsageError, match=r"^send must not set "):
        CompiledScript(build_script(RequestTurn(PLAIN, name="a")), dialect).step(
            step, 1, SessionChoices(0, 0)
        )


def messages_of(script: PreparedScript) -> list[ClientMessage]:
    """Return the messages of the history and of all steps, in their order. Leave out the
    messages of the setup.
    """
    of_steps = [
        [step.message] if isinstance(step, PreparedEvent) else [*step.inputs, step.request]
        for step in script.steps
        if isinstance(step, PreparedEvent | PreparedTurn)
    ]
    return [
        message for part in [script.history, *of_steps] for message in part if message is not None
    ]


# Differences between sessions.


def rows(*values: str) -> VariableRows:
    return VariableRows(Path("rows.csv"), "d2", tuple({"name": value} for value in values))


def test_sessions_use_the_rows_of_variables_in_a_cycle() -> None:
    script = build_script(
        TextTurn("I am ${name}.", name="a"), variables=rows("Ann", "Bob"), instructions="${name}"
    )
    repertoire = CompiledScript(script, GA)

    sessions = [repertoire.prepare_session(number, seed=1) for number in range(3)]
    texts = [
        decoded(session.turns[0].inputs[0].data)["item"]["content"][0]["text"]
        for session in sessions
    ]
    assert texts == ["I am Ann.", "I am Bob.", "I am Ann."]
    assert [
        decoded(update_of(session).data)["session"]["instructions"] for session in sessions
    ] == [
        "Ann",
        "Bob",
        "Ann",
    ]
    assert [session.variables_row for session in sessions] == [1, 2, 1]


def test_a_recording_is_chosen_by_seed_and_session() -> None:
    recordings = tuple(build_pcm(2_400, name=name) for name in "abcd")
    script = build_script(AudioTurn(recordings, name="words"), AudioTurn(recordings, name="words"))

    chosen = [
        [t.plan.audio for t in CompiledScript(script, GA).prepare_session(n, 7).turns]
        for n in range(40)
    ]
    again = [
        [t.plan.audio for t in CompiledScript(script, GA).prepare_session(n, 7).turns]
        for n in range(40)
    ]
    others = [
        [t.plan.audio for t in CompiledScript(script, GA).prepare_session(n, 8).turns]
        for n in range(40)
    ]
    assert chosen == again != others
    assert {name for turn in zip(*chosen, strict=True) for name in turn} == {
        "a.wav",
        "b.wav",
        "c.wav",
        "d.wav",
    }
    assert any(first != second for first, second in chosen)


LOG_NORMAL = LogNormalTimes(2.0, 0.5)
FROM_FILE = RecordedTimes(Path("times.txt"), "ab", (0.5, 1.0, 4.0))


def pauses_ns(script: PreparedScript) -> list[int]:
    return [step.duration_ns for step in script.steps if isinstance(step, PreparedPause)]


def test_pauses_depend_only_on_seed_and_session() -> None:
    script = build_script(
        build_wav(), PauseStep(LOG_NORMAL), PauseStep(7e-09), build_wav(), PauseStep(FROM_FILE)
    )
    first, other_arm = CompiledScript(script, GA), CompiledScript(script, PREVIEW)
    sessions = [pauses_ns(first.prepare_session(number, 7)) for number in range(40)]

    assert [
        pauses_ns(other_arm.prepare_session(number, 7)) for number in reversed(range(40))
    ] == sessions[::-1]
    assert [pauses_ns(first.prepare_session(number, 8)) for number in range(40)] != sessions
    assert len({drawn for drawn, _, _ in sessions}) == 40
    assert {fixed for _, fixed, _ in sessions} == {7}
    assert {taken for _, _, taken in sessions} == {500_000_000, 1_000_000_000, 4_000_000_000}


def test_pauses_are_drawn_with_a_random_stream_of_their_own() -> None:
    (drawn_ns,) = pauses_ns(
        CompiledScript(build_script(build_wav(), PauseStep(LOG_NORMAL)), GA).prepare_session(3, 7)
    )
    # one generator for the choice of recordings, one for the order of a pair
    of_others = (np.random.default_rng(words) for words in ([7, 3], [7, 3, ORDERS]))

    assert drawn_ns not in [round(LOG_NORMAL.draw_s(generator) * 1e9) for generator in of_others]


def test_without_random_choices_all_sessions_share_one_object() -> None:
    repertoire = CompiledScript(build_script(build_wav()), GA)

    assert repertoire.prepare_session(0, 1) is repertoire.prepare_session(99, 2)


# The microphone: the nanosecond at which each chunk is due, for any polls and any speech.


AT_NS = 5_000 * MS


def recorded(name: str, duration_ms: float = 100) -> ClientMessage:
    return ClientMessage(MessageKind.APPEND, name, b"", round(duration_ms * MS))


def taken(microphone: sending.Microphone, count: int) -> list[tuple[str, float]]:
    """Take the next chunks. Return the name of each chunk, and the time in ms after the opening
    at which it is due.
    """
    return [
        (message.name, (due_ns - AT_NS) / MS)
        for message, due_ns in (microphone.pop_due() for _ in range(count))
    ]


QUIET, NOISE = recorded("quiet"), recorded("noise", 20)
COURSES: dict[
    str, tuple[list[ClientMessage], int, list[ClientMessage], list[ClientMessage], int | None, Any]
] = {
    # (between turns, chunks taken before, speech, chunks after it, chunks taken before speech
    # stops, next chunks)
    "a chunk is due when its last sample has been recorded": (
        [],
        0,
        [recorded("a"), recorded("b"), recorded("c", 33)],
        [],
        None,
        [("a", 100), ("b", 200), ("c", 233)],
    ),
    "between turns an open microphone repeats the same chunks": (
        [recorded("x"), recorded("y", 50)],
        0,
        [],
        [],
        None,
        [("x", 100), ("y", 150), ("x", 250), ("y", 300)],
    ),
    "speech begins after the chunk that is being recorded": (
        [QUIET],
        2,
        [recorded("a", 20), recorded("b", 20)],
        [NOISE],
        None,
        [("quiet", 300), ("a", 320), ("b", 340), ("noise", 360), ("noise", 380)],
    ),
    "a caller who stops leaves no gap": (
        [QUIET],
        0,
        [recorded("a"), recorded("b")],
        [recorded("quiet", 50)],
        2,
        [("quiet", 250), ("quiet", 300)],
    ),
}


EACH_SENDING = pytest.mark.parametrize("kind", [sending, _sending_interpreted], ids=["C", "Python"])


@EACH_SENDING
@pytest.mark.parametrize(
    ("between", "before", "speech", "after", "hushed", "chunks"), COURSES.values(), ids=COURSES
)
def test_an_open_microphone_records_without_gaps(
    kind: ModuleType,
    between: list[ClientMessage],
    before: int,
    speech: list[ClientMessage],
    after: list[ClientMessage],
    hushed: int | None,
    chunks: list[tuple[str, float]],
) -> None:
    microphone = kind.Microphone(between)
    microphone.open(AT_NS)
    taken(microphone, before)
    if speech:
        microphone.speak(speech, after)
    assert microphone.speaking is bool(speech)
    if hushed is not None:
        taken(microphone, hushed)
        microphone.stop_speech()
        assert not microphone.speaking

    assert taken(microphone, len(chunks)) == chunks
    assert (microphone.due_ns is None) == (not between and not after)
    assert not microphone.speaking


CHUNKS = st.lists(
    st.integers(1, 10**9).map(lambda ns: ClientMessage(MessageKind.APPEND, "x", b"", ns)),
    min_size=1,
    max_size=5,
)


@EACH_SENDING
@thorough
@given(
    between=CHUNKS,
    turns=st.lists(st.tuples(st.integers(0, 9), CHUNKS, CHUNKS, st.integers(0, 9)), max_size=6),
)
def test_the_microphone_does_not_drift_over_any_number_of_turns(
    kind: ModuleType,
    between: list[ClientMessage],
    turns: list[tuple[int, list[ClientMessage], list[ClientMessage], int]],
) -> None:
    microphone, sent_ns = kind.Microphone(between), AT_NS
    microphone.open(AT_NS)
    for pause, speech, after, hushed_after in turns:
        for _ in range(pause):
            message, due_ns = microphone.pop_due()
            sent_ns += message.duration_ns or 0
            assert due_ns == sent_ns
        microphone.speak(speech, after)
        spoken = 0
        while microphone.speaking and spoken < hushed_after:
            message, due_ns = microphone.pop_due()
            sent_ns += message.duration_ns or 0
            spoken += 1
            assert due_ns == sent_ns
        microphone.stop_speech()

    assert microphone.due_ns is not None
    assert microphone.due_ns > sent_ns
