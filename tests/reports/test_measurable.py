"""Thresholds that no run of a script could ever judge are refused before it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.errors import UsageError
from reports.measurable import refuse_unmeasurable
from reports.thresholds import parse

SILENT = {"speech_end": "it has no spoken turn (`play`)", "turn_type:function_calls": "its session has no functions "
                                                                                      "(`tools`)",
          "task_success": "nothing says when a turn has done its task (`success`)",
          "input_word_errors": "no speech is transcribed"}  # fmt: skip


def script(name: str = "talk", *, spoken: bool = False) -> dict[str, Any]:
    """A script of two turns, of which the second may be spoken."""
    turns = [{"step": "hello", "lacks": SILENT}, {"step": "order", "lacks": {} if spoken else SILENT}]
    return {
        "name": name,
        "turns": turns,
        "session": {"greeting_audible": "no step hears a greeting (`wait_for: greeting`)"},
    }


NEVER = {
    "voice_to_voice: p(95)<1500": "it has no spoken turn (`play`) in talk",
    "end_of_turn_delay: med<900": "it has no spoken turn",
    "ttfa{turn_type:function_calls}: med<900": "its session has no functions",
    "greeting: med<900": "no step hears a greeting",
    "task_success_rate: rate>90%": "nothing says when a turn has done its task",
    "input_wer: rate<5%": "no speech is transcribed",
}


def threshold(written: str) -> Any:
    return parse(*written.split(": "))


@pytest.mark.parametrize(("written", "why"), NEVER.items())
def test_a_threshold_that_nothing_can_judge_is_refused_in_one_line(written: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        refuse_unmeasurable(threshold(written), [script()])

    assert str(refused.value).startswith(f"{written} can never be judged")
    assert why in str(refused.value)
    assert "such as ttfa" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("written", ["ttfa: p(95)<900", "failure_rate: rate<1%", "connect_total: med<9",
                                     "stall_rate: rate<1%", "latency_slope: med<9", "ttfa{turn_type:regular}: "
                                                                                    "med<900"])  # fmt: skip
def test_what_a_turn_may_have_is_not_refused(written: str) -> None:
    refuse_unmeasurable(threshold(written), [script()])


def test_one_turn_of_any_script_that_may_have_it_is_enough() -> None:
    asked = threshold("voice_to_voice: p(95)<1500")

    refuse_unmeasurable(asked, [script(), script("other", spoken=True)])
    with pytest.raises(UsageError, match="in talk, other"):
        refuse_unmeasurable(asked, [script(), script("other")])


def test_nothing_is_refused_where_one_script_is_not_known() -> None:
    refuse_unmeasurable(threshold("voice_to_voice: p(95)<1500"), [script(), None])
    refuse_unmeasurable(threshold("ttfa{step:none}: p(95)<1500"), [None])
    refuse_unmeasurable(threshold("voice_to_voice: p(95)<1500"), [])


def test_of_a_step_its_own_turns_count_and_it_must_be_there() -> None:
    spoken = [script(spoken=True)]

    refuse_unmeasurable(threshold("voice_to_voice{step:order}: p(95)<1500"), spoken)
    with pytest.raises(UsageError, match=r"can never be judged of step hello, because it has no spoken turn"):
        refuse_unmeasurable(threshold("voice_to_voice{step:hello}: p(95)<1500"), spoken)
    with pytest.raises(UsageError, match='there is no step "helo"; did you mean hello'):
        refuse_unmeasurable(threshold("ttfa{step:helo}: p(95)<1500"), spoken)
    with pytest.raises(UsageError, match="these are: a: hello, a: order, b: hello, b: order"):
        refuse_unmeasurable(threshold("ttfa{step:hello}: p(95)<1500"), [script("a"), script("b")])


def test_it_is_said_of_the_threshold_as_the_user_wrote_it() -> None:
    with pytest.raises(UsageError, match=r'^--slo "voice_to_voice'):
        refuse_unmeasurable(threshold("voice_to_voice: med<1"), [script()], '--slo "voice_to_voice p(50)<1"')
