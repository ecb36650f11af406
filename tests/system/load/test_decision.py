"""A run that ends when it is decided: its plan, and its interim analyses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.load.planning.run_options import Options
from bench.load.runners.interim_analyses import (
    InterimAnalyses,
    is_due,
    sequential_plan,
)
from bench.record.document import SequentialPlanEntry
from rtbench.evaluation import EVALUATION
from tests import forked
from tests.load.options import parsed


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the command that makes the plan, with its imports done."""
    monkeypatch.setattr("bench.load.runners.finalized_run.subprocess.run", forked.run)


def talk(
    name: str = "talk", turns: int = 10, output: str = "audio", *, steps: list[str] | None = None
) -> list[Script]:
    """Return a script with both targets."""
    labels = steps or [f"turn_{number + 1}" for number in range(turns)]
    fact = {"name": name, "output": output, "turns": len(labels), "steps": labels}
    return [fact | {"target": target} for target in ("east", "west")]


Script = dict[str, Any]
LOOKS = [50, 100, 150]


def made(
    *arguments: str, pairs: int = 500, scripts: Sequence[Script] = tuple(talk())
) -> SequentialPlanEntry:
    return sequential_plan(
        EVALUATION, Options.of(parsed("--until-decided", *arguments)), pairs, scripts
    )


def asking(folder: Path, thresholds: str, **how: Any) -> SequentialPlanEntry:
    """Return the plan of a run with this thresholds file."""
    file = folder / "ci.yaml"
    file.write_text(thresholds)
    return made("--thresholds", str(file), **how)


# The plan.


def test_by_default_ttfa_and_failure_rate_are_decided() -> None:
    assert made() == {
        "pairs": 500,
        "analyses": list(range(50, 501, 50)),
        "primary_metrics": {"ttfa": ["p(50)<+10%", "p(95)<+20%"], "failure_rate": ["rate<+1pt"]},
        "alpha": 0.05,
        "spending": "a t^2",
        "bootstrap_samples": 2000,
    }


def test_a_failure_threshold_that_cannot_pass_with_few_pairs_gives_a_notice(tmp_path: Path) -> None:
    (notice,) = made(pairs=100)["notices"]

    assert notice.startswith(
        "failure_rate: rate<+1pt cannot pass with 100 pairs, because with no failure in 100"
        " sessions the rate may still be"
    )
    enough = int(notice.split("--sessions to ")[1].split()[0])
    assert 299 <= enough <= 360
    assert "notices" not in made(pairs=enough)
    assert "notices" not in asking(tmp_path, 'failure_rate: "rate<+5pt"\n', pairs=100)
    assert asking(tmp_path, 'failure_rate: "rate<+0pt"\n')["notices"][0].endswith("%")


def test_if_all_replies_are_text_ttft_is_decided() -> None:
    text = talk("text", output="text")

    assert list(made(scripts=text)["primary_metrics"]) == ["ttft", "failure_rate"]
    assert list(made(scripts=[*text, *talk()])["primary_metrics"]) == ["ttfa", "failure_rate"]


def test_the_first_interim_analysis_needs_enough_turns_of_the_shortest_script() -> None:
    short = talk("short", turns=3)  # 400 turns for p95 are 134 pairs

    assert made(scripts=[*talk(), *short])["analyses"] == list(range(150, 501, 50))
    assert made("--interim-every", "100", pairs=200)["analyses"] == [100, 200]
    assert made(pairs=40)["analyses"] == [40]


@pytest.mark.parametrize(
    ("thresholds", "pairs", "expected"),
    [
        (
            "",
            20,
            (
                "ttfa: p(95)<+20% cannot be tested before 40 pairs, because it needs 400 values in"
                " each target, and the run has at most 20: raise --sessions to 40 or more"
            ),
        ),
        (
            "failure_rate: rate<+1pt\n",
            19,
            "failure_rate: rate<+1pt cannot be tested before 20 pairs, and the run has at most 19",
        ),
    ],
)
def test_a_run_too_short_to_test_a_threshold_is_refused(
    thresholds: str, pairs: int, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        asking(tmp_path, thresholds, pairs=pairs) if thresholds else made(pairs=pairs)

    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (
            "target:east",
            (
                "ttfa{target:east}: med<+10%: east is the baseline; a threshold may name only the"
                " candidate, west"
            ),
        ),
        (
            "target:north",
            (
                "ttfa{target:north}: med<+10%: there is no target north; a threshold may name only"
                " the candidate"
            ),
        ),
        ("step:order", 'there is no step "order"; these are: greeting, farewell'),
        (
            "step:greting",
            'there is no step "greting"; did you mean greeting? these are: greeting, farewell',
        ),
    ],
)
def test_threshold_filters_that_do_not_exist_in_the_run_are_refused(
    filters: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        asking(
            tmp_path,
            f"'ttfa{{{filters}}}': med<+10%\n",
            scripts=talk(steps=["greeting", "farewell"]),
        )

    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_only_relative_thresholds_of_a_file_are_decided(tmp_path: Path) -> None:
    file = (
        'ttfa: ["p(90)<+15%", "p(95)<800"]\nttfa{step:turn_1}: "med<+10%"\nfailure_rate:'
        ' ["rate<0.01"]\n'
    )

    assert asking(tmp_path, file)["primary_metrics"] == {
        "ttfa": ["p(90)<+15%"],
        "ttfa{step:turn_1}": ["med<+10%"],
    }


@pytest.mark.parametrize(
    "text", ['ttfa: ["p(95)<800"]\n', 'ttfa: ["p95 is fine"]\n', "ttfb: med<1\n"]
)
def test_thresholds_that_decide_nothing_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "ci.yaml"
    file.write_text(text)

    with pytest.raises(UsageError, match=r"ci\.yaml") as refused:
        made("--thresholds", str(file))
    assert "\n" not in str(refused.value)
    assert not str(refused.value).startswith("rtbench")


# The times of interim analyses.


@given(
    st.lists(st.integers(1, 999), min_size=1, unique=True), st.integers(0, 20), st.integers(0, 999)
)
def test_an_interim_analysis_is_due_when_its_pairs_are_complete_except_the_last(
    sizes: list[int], n_done: int, pairs: int
) -> None:
    sizes_in_order = sorted(sizes)
    due = is_due(sizes_in_order, n_done, pairs, 0)

    assert due == (n_done < len(sizes_in_order) - 1 and pairs >= sizes_in_order[n_done])
    assert not is_due(sizes_in_order, n_done, pairs, pairs)


# Tests of InterimAnalyses with a real child process, which runs a Python file of the test.


def child(folder: Path, program: str) -> tuple[str, ...]:
    (folder / "child.py").write_text(f"import sys\n{program}\n")
    return (sys.executable, str(folder / "child.py"))


def printing(**fields: Any) -> str:
    return f"print({json.dumps(fields)!r})"


class RecordedAnalyses:
    """`InterimAnalyses` in a folder, and what they reported: sentences that stop the run, and
    messages.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.stopped: list[str] = []
        self.messages: list[str] = []
        self.looks = InterimAnalyses(
            folder,
            LOOKS,
            stop=self.stopped.append,
            give_up=self.stopped.append,
            say=self.messages.append,
            command=child(folder, program),
        )

    def consider(self, *pairs: int) -> None:
        """Call `consider` for each number of pairs, as a run does every second. Wait for each
        analysis that was started.
        """
        for each in pairs:
            self.looks.consider(each)
            looking = self.looks._running
            if looking is not None:
                looking.join()


def test_a_deciding_interim_analysis_ends_the_run_with_its_sentence(tmp_path: Path) -> None:
    analyses = RecordedAnalyses(
        tmp_path, printing(stopped=True, sentence="not_regressed", analysis=1, pairs=50)
    )
    analyses.consider(50)
    assert analyses.stopped == []
    analyses.consider(50)
    analyses.looks.end()

    assert (analyses.stopped, analyses.messages) == (["not_regressed"], [])
    assert analyses.looks.progress == (1, 3)


def test_an_undecided_interim_analysis_is_followed_by_the_next(tmp_path: Path) -> None:
    count = (
        "open(sys.argv[1] + '/count', 'a').write('x'); n = len(open(sys.argv[1] +"
        " '/count').read())\n"
    )
    says = 'print(\'{"stopped": false, "sentence": "", "analysis": %d, "pairs": 50}\' % n)'
    analyses = RecordedAnalyses(tmp_path, count + says)
    analyses.consider(49, 50, 51, 60, 99, 100, 101, 150, 151)

    assert analyses.stopped == []
    assert analyses.looks.progress == (2, 3)
    assert (tmp_path / "count").read_text() == "xx"


def test_an_interim_analysis_with_a_missing_pair_is_repeated_after_the_next_pair(
    tmp_path: Path,
) -> None:
    counts = "open(sys.argv[1] + '/count', 'a').write('x')\n"
    analyses = RecordedAnalyses(
        tmp_path, counts + printing(stopped=False, sentence="", analysis=0, pairs=0)
    )
    analyses.consider(50, 50, 50, 50)
    assert (tmp_path / "count").read_text() == "x"
    analyses.consider(51, 51)

    assert (tmp_path / "count").read_text() == "xx"
    assert analyses.looks.progress == (0, 3)


@pytest.mark.parametrize(
    ("program", "trouble"),
    [
        ("sys.exit('no such thing')", "no such thing"),
        ("sys.exit(3)", "status 3"),
        ("pass", "Expecting value"),
        ("print('{}')", "analysis"),
    ],
)
def test_a_failed_interim_analysis_is_reported_once_and_the_run_continues(
    program: str, trouble: str, tmp_path: Path
) -> None:
    analyses = RecordedAnalyses(tmp_path, program)
    analyses.consider(50, 51, 52, 53)

    assert analyses.stopped == []
    assert len(analyses.messages) == 1
    assert trouble in analyses.messages[0]


def test_no_interim_analysis_runs_while_the_load_generator_is_overloaded(tmp_path: Path) -> None:
    analyses = RecordedAnalyses(
        tmp_path, printing(stopped=True, sentence="done", analysis=1, pairs=50)
    )
    for pairs in (49, 50, 51):
        analyses.looks.consider(pairs, late="send_delay 14.2 ms > 10 ms")
    assert (analyses.looks._running, analyses.stopped, len(analyses.messages)) == (None, [], 1)
    analyses.consider(52, 53)

    assert analyses.stopped == ["done"]


def test_the_end_of_the_run_kills_a_running_interim_analysis(tmp_path: Path) -> None:
    analyses = RecordedAnalyses(
        tmp_path, "import os, time; os.mkdir(f'{sys.argv[1]}/{os.getpid()}'); time.sleep(600)"
    )
    analyses.looks.consider(50)
    analyses.looks.consider(50)
    while not (found := [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]):
        gevent.sleep(0.01)
    analyses.looks.end()
    analyses.consider(200, 200)

    with pytest.raises(ProcessLookupError):
        os.kill(found[0], 0)
    assert (analyses.stopped, analyses.messages) == ([], [])
