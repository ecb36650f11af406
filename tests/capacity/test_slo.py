"""Objectives as users write them."""

from __future__ import annotations

import pytest

from bench.capacity.slo import slo_of
from bench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "measure", "allowed"),
    [
        ("ttfa p(95)<800", "ttfa", 0.05),
        ("ttfa{step:greeting} p(99) < 1.2s", "ttfa", 0.01),
        ("voice_to_voice med<900ms", "voice_to_voice", 0.5),
        ("audio_speed p(5)>1.2", "audio_speed", 0.05),
        ("connect_total p(95)<500", "connect_total", 0.05),
        ("failed<1%", "failures", 0.01),
        ("failures rate<0.02", "failures", 0.02),
        ("throttled < 0.5%", "throttled", 0.005),
        ("yield_rate>90%", "yield_rate", 0.1),
        ("cut_off_rate<2%", "cut_off_rate", 0.02),
        ("ttfa{traits:calls} p(95)<4000", "ttfa", 0.05),
    ],
)
def test_an_objective_is_a_share_of_turns_that_may_miss_it(text: str, measure: str, allowed: float) -> None:
    slo = slo_of(text)

    assert slo.threshold.measure == measure
    assert slo.allowed == pytest.approx(allowed)
    assert slo.written == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ttfa p(95)<+20%", "is relative"),
        ("ttfa{target:west} p(95)<800", "names a target"),
        ("audio_speed avg>1.2", "about a mean"),
        ("failed<0%", "no run can show that"),
        ("failed<100%", "no run can show that"),
        ("failed>1%", "less of it is better"),
        ("speed p(95)<800", "there is no measure"),
        ("ttfa", "is no objective"),
        ("ttfa max<800", "is no gate"),
        ("", "is no objective"),
    ],
)
def test_what_cannot_be_asked_of_one_run_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        slo_of(text)

    assert "\n" not in str(refused.value)
    assert "--slo" in str(refused.value)
