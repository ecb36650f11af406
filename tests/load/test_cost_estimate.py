"""The cost estimate of a run, before it begins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.catalogue.pricing import Prices
from bench.load.planning.cost_estimate import (
    HIGH,
    LOW,
    SessionCost,
    below_estimate,
    estimate,
    estimate_text,
    session_cost,
    session_minutes,
    session_usage,
)
from bench.plan.compiled_script import CompiledScript
from bench.plan.conversation import History
from bench.plan.functions import ExpectedFunctionCall, ScriptFunction
from bench.plan.script import Script
from bench.plan.steps import PauseStep
from bench.plan.turns import Step, TextTurn
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.openai.dialect import GA
from bench.services.registry import DIALECTS
from bench.services.translation.dialect import TRANSLATION
from bench.target.price_table import usage_usd
from bench.target.target import Target
from bench.wire.events import TokenUsage
from bench.wire.settings import (
    FunctionTool,
    Image,
    InputTranscription,
    McpServer,
    SessionSettings,
    TurnDetection,
)
from rtbench_simulator.profile import FunctionCalls, quiet_profile
from rtbench_simulator.recorded_replies import build_reply
from tests.helpers import build_message, play, respond, say
from tests.talking import ORDER, SPEECH, VAD, Simulator, sound, speak, talked

REALTIME = Prices(
    text_input=4,
    text_cached_input=0.4,
    text_output=16,
    audio_input=32,
    audio_cached_input=0.4,
    audio_output=64,
)
TABLE = {"gpt-realtime": REALTIME}
AS_OF = "2026-11-01"
ANSWER = build_reply("answer", " ".join(["word"] * 40), sound(170, 5_000))
"""An answer that lasts five seconds."""

WHISPER = InputTranscription(model="whisper-1")


def target(**changes: Any) -> Target:
    values: dict[str, Any] = {"service": "openai", "model": "gpt-realtime"}
    return Target("h.example", 443, True, "/r", GA, label="azure", auth=None, **values | changes)


def script(*steps: Step, **session: Any) -> Script:
    settings = SessionSettings(**{"instructions": "Be brief, friend", **session})
    return Script(name="talk", path=Path("talk.yaml"), digest="d1", session=settings, steps=steps)


def output_of(usage: TokenUsage) -> tuple[int, int]:
    return usage.text_out, usage.audio_out


# The number of tokens.


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [(1, 1, 255), (512, 512, 255), (1_024, 1_024, 765), (4_096, 2_048, 1_105)],
)
def test_the_cost_of_an_image_follows_from_its_tiles(width: int, height: int, tokens: int) -> None:
    shown = Image(url="data:", width=width, height=height, digest="")
    pictured = TextTurn(say().text, name="say", image=shown)

    usage = session_usage(script(pictured, pictured), LOW)

    assert (usage.image_in, usage.cached_image_in) == (3 * tokens, tokens)
    assert usage.text_in == session_usage(script(say(), say()), LOW).text_in


@pytest.mark.parametrize(
    ("turn", "session", "low", "high"),
    [
        # a spoken reply has twenty audio tokens per second, in addition to the tokens of its text
        (say(), {}, (22, 60), (150, 400)),
        (say(), {"output": "text"}, (30, 0), (150, 0)),  # a text reply has only text tokens
        (say(output="text"), {}, (30, 0), (150, 0)),
        # the limit on output tokens applies
        (say(), {"max_output_tokens": 110}, (22, 60), (30, 80)),
        (say(max_output_tokens=110), {}, (22, 60), (30, 80)),
        (say(output="text"), {"max_output_tokens": 110}, (30, 0), (110, 0)),
        (say(), {"max_output_tokens": "inf"}, (22, 60), (150, 400)),
    ],
)
def test_a_reply_is_audio_with_its_transcript_or_text(
    turn: Step, session: dict[str, Any], low: tuple[int, int], high: tuple[int, int]
) -> None:
    assert output_of(session_usage(script(turn, **session), LOW)) == low
    assert output_of(session_usage(script(turn, **session), HIGH)) == high


def test_turn_detection_adds_its_padding_and_silence_to_the_upper_estimate() -> None:
    usual = session_usage(script(play(2_000), turn_detection=TurnDetection()), HIGH)
    longer = TurnDetection(silence_duration_ms=2_000, prefix_padding_ms=0)
    given = session_usage(script(play(2_000), turn_detection=longer), HIGH)

    assert (usual.audio_in, given.audio_in) == (28, 40)


def test_the_estimate_uses_the_shortest_and_the_longest_recording() -> None:
    short, long = play(1_000), play(4_000)
    either = type(short)(**{**vars(short), "audio": (*long.audio, *short.audio)})

    assert session_usage(script(either), LOW).audio_in == 10
    assert session_usage(script(either), HIGH).audio_in == 40


def test_instructions_of_a_turn_replace_those_of_the_session() -> None:
    assert session_usage(script(respond(instructions="x" * 400)), LOW).text_in == 100


FIND = ScriptFunction(FunctionTool(name="find"), ["x" * 40, "y" * 80], delay=0.5)
COUNT = ScriptFunction(FunctionTool(name="count"), compute=lambda: 1)


def agent(*steps: Step, **session: Any) -> Script:
    """Return a script whose session declares two functions."""
    settings = {"tools": (FIND.tool, COUNT.tool)} | session
    return replace(script(*steps, **settings), tools=(FIND, COUNT))


def expecting(*calls: str, **arguments: str) -> TextTurn:
    return replace(
        say(), expected_calls=tuple(ExpectedFunctionCall(name, arguments) for name in calls)
    )


def without_calls(*steps: Step, **session: Any) -> Script:
    return agent(*steps, tool_choice="none", **session)


def test_an_expected_function_call_adds_a_response_that_reads_call_and_result() -> None:
    plain, calls = (
        session_usage(made, LOW) for made in (without_calls(say()), agent(expecting("find")))
    )

    read, arguments, returned = plain.text_in, 1, 10
    assert calls.text_in == read + (read + arguments + returned)
    assert output_of(calls) == (plain.text_out + arguments, plain.audio_out)
    assert calls.cached_text_in == read + arguments, "all that the first response read and wrote"


@pytest.mark.parametrize(
    ("choice", "low", "high"),
    [("none", 1, 1), (None, 1, 2), ("auto", 1, 2), ("required", 2, 2), ("count", 2, 2)],
)
@pytest.mark.parametrize("of", ["turn", "session"])
def test_an_optional_function_call_is_only_in_the_upper_estimate(
    choice: str | None, low: int, high: int, of: str
) -> None:
    given = {} if choice is None else {"tool_choice": choice}
    at_length = {"instructions": "x" * 40_000}
    made = agent(say(**given), **at_length) if of == "turn" else agent(say(), **given, **at_length)
    responses = [session_usage(made, assumed).text_in // 10_000 for assumed in (LOW, HIGH)]

    assert responses == [low, high]


@pytest.mark.parametrize(("choice", "high"), [("auto", 2), ("none", 1)])
def test_an_mcp_call_is_only_in_the_upper_estimate(choice: str, high: int) -> None:
    servers = (McpServer(label="docs", url="https://x"),)
    made = script(say(), mcp_servers=servers, tool_choice=choice, instructions="x" * 40_000)
    responses = [session_usage(made, assumed).text_in // 10_000 for assumed in (LOW, HIGH)]

    assert responses == [1, high]


def test_session_minutes_include_function_execution_and_preambles() -> None:
    made = agent(expecting("find"))

    assert session_minutes(made, LOW) * 60 == pytest.approx(0.5 + LOW.speech_s)
    assert session_minutes(made, HIGH) * 60 == pytest.approx(0.5 + LOW.speech_s + HIGH.speech_s)


@settings(max_examples=30)
@given(
    together=st.booleans(),
    preamble=st.sampled_from([0.0, 1.0]),
    expected=st.integers(0, 3),
    history=st.booleans(),
    spoken=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_simulator_s_usage_is_within_the_estimate(
    together: bool, preamble: float, expected: int, history: bool, spoken: bool, seed: int
) -> None:
    habits = FunctionCalls(
        share=1.0 if expected else 0.0,
        parallel=(expected, expected) if together and expected else (1, 1),
        rounds=1 if together else max(1, expected),
        preamble=preamble,
    )
    asks = replace(
        speak(*SPEECH) if spoken else say(),
        expected_calls=(ExpectedFunctionCall(ORDER.name),) * expected,
    )
    made = replace(
        script(asks, PauseStep(1), asks, tools=(ORDER,), turn_detection=VAD if spoken else None),
        tools=(ScriptFunction(ORDER, [{"place": "out for delivery"}]),),
        history=History(Path("h.jsonl"), "d2", (build_message("x" * 4_000),)) if history else None,
    )
    simulator = Simulator(GA, replace(quiet_profile(), functions=habits), seed, replies=[ANSWER])
    talk = talked(CompiledScript(made, GA).prepare_session(0, 0), simulator)

    assert [(turn.outcome, turn.function_calls) for turn in talk.turns] == [("ok", expected)] * 2
    billed = sum((turn.usage for turn in talk.turns if turn.usage), TokenUsage())
    low, high = (usage_usd(REALTIME, session_usage(made, assumed)) for assumed in (LOW, HIGH))
    assert low <= usage_usd(REALTIME, billed) <= high


TURNS = [say(), respond(), play(1_000), play(3_000), say(output="text")]
CALLING = [expecting("find"), expecting("find", "count"), expecting(), say(tool_choice="required")]
turns = st.lists(st.sampled_from(TURNS), max_size=6)
sessions = st.fixed_dictionaries(
    {
        "output": st.sampled_from(["audio", "text"]),
        "max_output_tokens": st.none() | st.integers(1, 4096),
        "turn_detection": st.none() | st.just(TurnDetection()),
    }
)


@given(
    st.lists(st.sampled_from([*TURNS, *CALLING]), max_size=6),
    sessions,
    st.sampled_from([script, agent]),
)
def test_low_is_never_more_than_high(
    steps: list[Step], session: dict[str, Any], made_by: Callable[..., Script]
) -> None:
    made = session_cost(target(), [made_by(*steps, **session)], TABLE, AS_OF)

    assert made.usd is not None
    assert 0 <= made.usd[0] <= made.usd[1]


@given(turns, turns.filter(bool))
def test_more_turns_cost_more(steps: list[Step], more: list[Step]) -> None:
    fewer, all_ = (
        session_cost(target(), [script(*taken)], TABLE, AS_OF).usd
        for taken in (steps, steps + more)
    )

    assert fewer is not None
    assert all_ is not None
    assert fewer[0] < all_[0]
    assert fewer[1] < all_[1]


# Prices.


def priced(**changes: Any) -> SessionCost:
    values: dict[str, Any] = {
        "target": "azure",
        "model": "gpt-realtime",
        "usd": (0.05, 0.1375),
        "has_audio": True,
        "transcribed": False,
        "basis": "gpt-realtime, prices of 2026-11-01",
    }
    return SessionCost(**values | changes)


def quoted(
    *steps: Step, model: str = "gpt-realtime", service: str = "openai", **session: Any
) -> list[SessionCost]:
    return [
        session_cost(
            target(service=service, model=model), [script(*steps, **session)], TABLE, AS_OF
        )
    ]


UNKNOWN = priced(target="east", model="voice-1", usd=None)
BASIS = "(gpt-realtime, prices of 2026-11-01)"
WORDS: dict[str, tuple[list[SessionCost], int | None, str]] = {
    # (costs of a session, number of sessions, the text); … in the text stands for any text
    "the cost with its sessions and prices": (
        [priced()],
        8,
        f"about 0.40 to 1.10 USD for 8 sessions {BASIS}; replies of 3 to 20 s are assumed",
    ),
    "each target and price basis is named once": (
        [priced(), priced(), priced(basis="prices of the target east")],
        1,
        (
            "about 0.15 to 0.41 USD for 1 session with each of 3 targets (gpt-realtime, prices of"
            " 2026-11-01; prices of the target east)…"
        ),
    ),
    "without a limit the cost is per session": ([priced()], None, "…USD for a session (…"),
    "text replies have an assumed number of tokens": (
        quoted(say(), output="text"),
        1,
        "…; replies of 30 to 150 tokens are assumed",
    ),
    "transcription is billed separately": (
        quoted(play(), input_transcription=WHISPER),
        1,
        "…; transcription is not included",
    ),
    "a deployment named like a model is an assumption": (
        quoted(say(), service="azure"),
        8,
        "…(if gpt-realtime is the model of the deployment, prices of 2026-11-01)…",
    ),
    "a missing price has a reason and a remedy": (
        quoted(say(), service="azure", model="voice-1"),
        8,
        "the cost cannot be estimated, because no price of voice-1 is known: add `prices:`…",
    ),
    "a target without a price is named with the estimate of the others": (
        [priced(), UNKNOWN],
        8,
        (
            f"about 0.40 to 1.10 USD for 8 sessions with azure {BASIS}; …; east is not included,"
            " because no price of voice-1 is known: add `prices:`…"
        ),
    ),
    "targets with a price are counted": (
        [priced(), UNKNOWN, priced(target="west")],
        8,
        "…with each of 2 targets (…",
    ),
}


LIVE_TABLE = {"gpt-live-1": Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.6), "gpt-6-luna": REALTIME}


def live(model: str | None = None, prices: Prices | None = None) -> SessionCost:
    """Return the cost of a session of GPT-Live. `model` is that of its backend; None if it has
    no backend.
    """
    delegation = model and {"type": "responses", "responses": {"model": model}}
    session = {"turn_detection": None, "model": "gpt-live-1", "delegation": delegation}
    called = replace(target(model=None, prices=prices), dialect=GPT_LIVE)
    return session_cost(called, [script(play(), **session)], LIVE_TABLE, AS_OF)


def test_the_estimate_has_at_least_what_the_creation_of_a_session_bills() -> None:
    called = replace(target(model=None), dialect=DIALECTS["gpt-live-webrtc"])
    session = {"turn_detection": None, "model": "gpt-live-1"}
    low_usd, _ = session_cost(called, [script(play(), **session)], LIVE_TABLE, AS_OF).usd or (0, 0)

    assert low_usd == pytest.approx(0.6 / 4)


def test_the_estimate_of_a_session_that_delegates_has_its_minutes_and_names_the_backend() -> None:
    alone, backed, unpriced = live(), live("gpt-6-luna"), live("my-luna")
    own = live("my-luna", replace(REALTIME, usd_per_minute=0.6))

    assert alone.usd == backed.usd == unpriced.usd == own.usd
    assert alone.usd is not None
    assert (alone.backends, own.backends) == ({}, {"my-luna": True})
    assert "backend" not in estimate_text([alone], 1)
    assert estimate_text([backed], 1).endswith(
        "; tokens of the backend gpt-6-luna are not included"
    )
    assert (
        "gpt-6-luna, my-luna are not included, and no price of my-luna is known: add `prices:`"
        in estimate_text([backed, unpriced], 1)
    )


@pytest.mark.parametrize("of_tokens", [False, True])
def test_the_estimate_of_a_translation_has_its_minutes(of_tokens: bool) -> None:
    table = {"gpt-live-1": Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.6)}
    prices = replace(REALTIME, usd_per_minute=0.6) if of_tokens else table["gpt-live-1"]
    called = replace(target(model=None, prices=prices), dialect=TRANSLATION)
    duplex = TurnDetection(type="full_duplex")
    (low, high), alone = (
        session_cost(called, [script(play(), turn_detection=duplex)], {}, AS_OF).usd or (0, 0),
        live().usd,
    )

    assert alone is not None
    assert (low > alone[0]) == of_tokens
    assert high >= low > 0


@pytest.mark.parametrize(("quotes", "sessions", "words"), WORDS.values(), ids=WORDS)
def test_an_estimate_is_formatted_as_text(
    quotes: list[SessionCost], sessions: int | None, words: str
) -> None:
    assert re.fullmatch(re.escape(words).replace("…", ".*"), estimate_text(quotes, sessions))


def test_the_estimate_of_a_run_is_the_sum_over_sessions_and_targets() -> None:
    assert estimate([priced(), priced(usd=(0.15, 0.2))], 10) == pytest.approx((2.0, 3.375))
    assert estimate([priced(), priced(usd=None)], 8) is None, (
        "one target without a price leaves none"
    )


@pytest.mark.parametrize(
    ("budget_usd", "quotes", "sessions", "expected"),
    [
        (
            0.1,
            [priced()],
            8,
            "the budget of 0.10 USD is below the lower estimate (0.40): the run will end early",
        ),
        (0.4, [priced()], 8, ""),
        (None, [priced()], 8, ""),
        (0.1, [priced()], None, ""),
        (0.1, [priced(usd=None)], 8, ""),
    ],
)
def test_a_budget_below_the_lower_estimate_gives_a_notice(
    budget_usd: float | None, quotes: list[SessionCost], sessions: int | None, expected: str
) -> None:
    assert below_estimate(budget_usd, quotes, sessions) == expected
