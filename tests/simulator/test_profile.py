"""A profile is read whole, and a mistake in it is told with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bench.simulator
from bench.errors import UsageError
from bench.simulator.delay import DelayDrift, LogNormal
from bench.simulator.faults.kinds import Fault, Range
from bench.simulator.profile import (
    PRESETS,
    AnswerParts,
    FunctionCalls,
    ReadingTime,
    SpeechDetection,
    TokenCache,
    default_profile,
    load_profile,
)
from bench.simulator.quota import QuotaLimits


def test_the_default_profile_assumes_450_and_900_ms_to_first_audio() -> None:
    assert default_profile().delays.first_audio == LogNormal(450, 900)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_had_by_its_name_and_says_what_it_is_made_from(name: str) -> None:
    written = (Path(bench.simulator.__file__).parent / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")

    assert load_profile(Path(name)).name == name
    assert "assumption" in written
    assert {path.stem for path in Path(bench.simulator.__file__).parent.glob("profiles/*.yaml")} == set(PRESETS)


def test_a_file_of_a_presets_name_comes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("busy").write_text("generation_speed: 9\n")

    assert load_profile(Path("busy")).generation_speed == 9


def test_what_a_profile_leaves_out_is_as_in_the_default(tmp_path: Path) -> None:
    path = tmp_path / "slow.yaml"
    path.write_text("generation_speed: 1.5\ndelays_ms:\n  committed: {p50: 10, p95: 20}\n")

    profile = load_profile(path)

    assert (profile.name, profile.generation_speed, profile.delays.committed) == ("slow", 1.5, LogNormal(10, 20))
    assert profile.delays.first_audio == default_profile().delays.first_audio


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("generation_speed: 4.0\nspede: 2\n", 2, "unknown key 'spede'"),
        ("generation_speed: fast\n", 1, "generation_speed must be a number"),
        ("\n\ngeneration_speed: true\n", 3, "generation_speed must be a number"),
        ("generation_speed: .nan\n", 1, "generation_speed must be a number"),
        ("rate_limits_updated: often\n", 1, "after_done"),
        ("obfuscation: 1\n", 1, "true or false"),
        ("transcript_lead_deltas: [5, 3]\n", 1, "whole number from 5"),
        (
            "delays_ms:\n  committed: soon\n",
            2,
            'committed must be a number from 0.001 to 600000, not the string "soon"',
        ),
        ("delays_ms:\n  committed: {median: 5}\n", 2, "must have exactly one of p50, mean, quantiles, mixture"),
        ("delays_ms:\n  committed: {mean: 5}\n", 2, "committed needs `shape`"),
        ("delays_ms:\n  committed: {quantiles: [5]}\n", 2, "must be two values or more"),
        ("delays_ms:\n  committed: {quantiles: [5, 4]}\n", 2, "each no less than the one before it"),
        ("delays_ms:\n  committed: {mixture: [{share: 0, p50: 1, p95: 2}]}\n", 2, "a part with a share above 0"),
        ("delays_ms:\n  committed: {mixture: [{p50: 1, p95: 2}]}\n", 2, "needs `share`"),
        ("slowdown: {sessions: 5}\n", 1, "slowdown needs `per_session`"),
        ("delays_ms:\n  commited: {p50: 1, p95: 2}\n", 2, "unknown key 'commited'"),
        ("delays_ms:\n  committed: {p50: 9, p95: 2}\n", 2, "must not be below"),
        ("delays_ms: 5\n", 1, "delays_ms must be made of `key: value`, not 5; allowed: session_created"),
        ("- 1\n", 1, "the profile must be made of `key: value`, not a list"),
        ("", 1, "the profile must be made of `key: value`, not nothing"),
        ("generation_speed: [\n", 2, "not YAML"),
        ("faults: close\n", 1, 'faults must be a list, not the string "close"'),
        ("faults: [close]\n", 1, "faults must be made of `key: value`"),
        ("faults:\n  - at: tls\n", 2, "faults needs `kind`"),
        ("faults:\n  - kind: close\n  - kind: sometimes\n", 3, "kind must be refused, reset, hang"),
        ("faults:\n  - kind: close\n    at: tls\n", 3, "at must be session, settings"),
        ("faults:\n  - {kind: close, cod: 1}\n", 2, "did you mean code?"),
        ("faults:\n  - kind: close\n    code: 1005\n", 3, "code must be a close code that may be sent"),
        ("faults:\n  - kind: http\n    status: 599\n", 3, "status must be a status that HTTP has"),
        ("faults:\n  - kind: reset\n    at: tls\n    responses: 2\n", 4, "responses goes with a place that responses"),
        ("faults:\n  - kind: reset\n    sessions: 1.5-2\n", 3, "sessions must be as in 3, 2-6 or 4-"),
        ("quota: 5\n", 1, "quota must be made of `key: value`, not 5; allowed: connections_per_minute"),
        ("quota:\n  requests_per_minute: 1\n  tokens_per_minute: 0\n", 3, "tokens_per_minute must be a whole number"),
        ("quota:\n  tokens_per_hour: 1\n", 2, "unknown key 'tokens_per_hour'"),
        ("drift: {sd: 0.1, seed: 1}\n", 1, "drift needs `time_constant_s`"),
        ("drift: {sd: -1, time_constant_s: 9, seed: 1}\n", 1, "sd must be a number from 0 to 2"),
        ("functions: {share: 2}\n", 1, "share must be a number from 0 to 1"),
        ("functions: {parallel: [0, 1]}\n", 1, "parallel must be a whole number from 1 to 20"),
        ("functions: {round: 1}\n", 1, "did you mean rounds?"),
        ("preamble:\n  phases: 1\n", 2, "phases must be true or false"),
        ("reasoning_ms: {much: {p50: 1, p95: 2}}\n", 1, "unknown key 'much'"),
        ("cache: {block_tokens: 0}\n", 1, "block_tokens must be a whole number from 1"),
        ("context_latency: 5\n", 1, "context_latency must be made of `key: value`"),
        ("context_limit_tokens: 0\n", 1, "context_limit_tokens must be a whole number from 1"),
        ("vad: {ignored_barge_in_share: -1}\n", 1, "ignored_barge_in_share must be a number from 0 to 1"),
        ("transcripts: {word_error_rate: 0.1}\n", 1, "word_error_rate needs `texts`"),
        ("transcripts: {texts: [], word_error_rate: 0.1}\n", 1, "texts must not be an empty list"),
        ("transcripts: {texts: hi, word_error_rate: 2}\n", 1, "word_error_rate must be a number from 0 to 1"),
        ("max_session_s: 0\n", 1, "max_session_s must be a number"),
        ("generation_speed: 1\ngeneration_speed: 2\n", 2, "the profile has the key 'generation_speed' twice"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)

    with pytest.raises(UsageError) as caught:
        load_profile(path)

    assert str(caught.value).startswith(f"{path}:{line}:")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_profile_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: no such file"):
        load_profile(tmp_path / "none.yaml")


def test_a_log_normal_delay_has_the_quantiles_it_was_given() -> None:
    rng = np.random.default_rng(3)

    drawn_ms = np.array([LogNormal(450, 900).draw_ns(rng) for _ in range(20_000)]) / 1e6

    assert np.quantile(drawn_ms, 0.5) == pytest.approx(450, rel=0.02)
    assert np.quantile(drawn_ms, 0.95) == pytest.approx(900, rel=0.03)


def test_equal_quantiles_make_a_delay_constant() -> None:
    assert LogNormal(40, 40).draw_ns(np.random.default_rng(1)) == 40_000_000


def test_a_profile_says_what_goes_wrong_is_limited_and_drifts(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "faults: [{kind: throttled, sessions: 2-6, share: 0.5}]\nmax_session_s: 2.5\nquota: {tokens_per_minute: 6000}\n"
        "drift: {sd: 0.2, time_constant_s: 30, seed: 4}\n"
    )

    profile = load_profile(path)

    assert profile.faults == (Fault("throttled", "upgrade", share=0.5, sessions=Range(2, 6)),)
    assert profile.max_session_s == 2.5
    assert profile.quota == QuotaLimits(tokens_per_minute=6000)
    assert profile.drift == DelayDrift(0.2, 30, 4)


def test_a_profile_says_what_the_model_is_like(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(
        "functions: {share: 0.5, parallel: [1, 3]}\npreamble: {share: 0.3}\nreasoning_ms: {low: {p50: 300, p95: 600}}\n"
        "cache: {min_tokens: 1024, block_tokens: 128}\ncontext_latency: {ms_per_1000_tokens: 20}\n"
        "context_limit_tokens: 28224\nvad: {min_speech_ms: 300}\nignored_truncate_share: 0.25\n"
    )

    profile = load_profile(path)

    assert profile.functions == FunctionCalls(share=0.5, parallel=(1, 3))
    assert (profile.preamble, profile.preamble.tell_phases) == (AnswerParts(share=0.3), True)
    assert profile.reasoning_ms == {"low": LogNormal(300, 600)}
    assert (profile.cache, profile.context_latency) == (TokenCache(1024, 128), ReadingTime(20, 0))
    assert (profile.context_limit_tokens, profile.vad) == (28224, SpeechDetection(300, 0))
    assert profile.ignored_truncate_share == 0.25


def test_the_default_profile_calls_once_and_answers_in_one_part() -> None:
    profile = default_profile()

    assert profile.functions == FunctionCalls(share=1, parallel=(1, 1), rounds=1, preamble=0)
    assert (profile.preamble.tell_phases, dict(profile.reasoning_ms), profile.context_limit_tokens) == (False, {}, None)
    assert profile.context_latency.ns(100_000, 50_000) == 0


def test_faults_of_the_command_line_come_on_top_of_the_profile_s() -> None:
    profile = replace(default_profile(), faults=(Fault("reset", "tcp"),)).adjusted(faults=[Fault("close", "done")])

    assert [fault.kind for fault in profile.faults] == ["reset", "close"]


def test_another_median_keeps_the_relative_spread() -> None:
    assert default_profile().adjusted(ttfa_p50_ms=100).delays.first_audio == LogNormal(100, 200)
