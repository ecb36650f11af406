"""Pipecat and Azure's package understand our messages to agents as we do, and we understand theirs
as they do.

`agents_words.json` stores the answers of these packages, with their versions. `python -m
tools.benchmarks.agents_words` renews the file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.services.agents_words import CASES, KEPT, check_answer, questions

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", CASES)
def test_agent_frameworks_and_this_tool_read_each_other_s_messages_correctly(name: str) -> None:
    case, stored = CASES[name], json.loads(KEPT.read_text(encoding="utf-8"))[name]
    for question, answer in zip(questions(case), stored["answers"], strict=True):
        check_answer(case, question, answer)


@pytest.mark.parametrize("name", ["twilio", "acs"])  # without `pcm`, which also names formats
def test_at_most_three_files_name_an_agent_dialect(name: str) -> None:
    naming = re.compile(rf"[\"']{name}[\"']")
    product = [
        path
        for part in ("bench", "reports", "rtbench", "rtbench_simulator")
        for path in (ROOT / part).rglob("*.py")
    ]
    named = {
        path.relative_to(ROOT).as_posix()
        for path in product
        if naming.search(path.read_text(encoding="utf-8"))
    }

    assert len(named) <= 3, named
