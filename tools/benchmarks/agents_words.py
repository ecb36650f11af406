"""A check of how pipecat and Azure's package read our messages to agents, and how they write their
own messages.

`tests/services/agents_words.json` stores the answers of the packages with their versions, and
`tests/services/test_agents_words.py` compares our dialects with these answers. If an answer
differs, this program ends with an error; `python -m tools.benchmarks.agents_words --write` stores
the new answer. Both packages also read and write random audio.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.services.agents import ACS
from tests.services.agents_words import CASES, KEPT, check_answer, questions
from tools.environments import in_node, in_python

HERE = Path(__file__).parent
PIPECAT = "pipecat-ai[websocket]==1.14.0", "uvicorn==0.54.0"
AZURE = "@azure/communication-call-automation@1.6.0", "ws@8"
Ask = Callable[[dict[str, Any]], Any]


@contextmanager
def asking(program: str, home: Path, run: Sequence[str]) -> Iterator[Ask]:
    """Yield a function that queries the package of the program."""
    shutil.copy(HERE / program, home)
    command = [*run, program]
    with subprocess.Popen(
        command, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(query: dict[str, Any]) -> Any:
            print(json.dumps(query), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def main() -> None:
    """Send each package all stored questions and random audio; compare or store the answers."""
    stored = json.loads(KEPT.read_text(encoding="utf-8"))
    current = dict(stored)
    with tempfile.TemporaryDirectory() as folder:
        python, node = Path(folder) / "python", Path(folder) / "node"
        with asking("pipecat_words.py", python, in_python(python, PIPECAT)) as ask:
            current |= {
                name: answers(name, ask, PIPECAT)
                for name, case in CASES.items()
                if case.dialect is not ACS
            }
        if shutil.which("npm") is None:
            print("acs: SKIPPED, because npm is not installed")
        else:
            with asking("acs_words.mjs", node, in_node(node, AZURE)) as ask:
                current |= {
                    name: answers(name, ask, AZURE)
                    for name, case in CASES.items()
                    if case.dialect is ACS
                }
    if "--write" in sys.argv:
        KEPT.write_text(json.dumps(current, indent=1) + "\n", encoding="utf-8")
    elif current != stored:
        sys.exit(f"{KEPT.name} differs from these answers: update it with --write")


def answers(name: str, ask: Ask, packages: Sequence[str]) -> dict[str, Any]:
    """Return a package's answers in the form that the file stores.

    Before that, the package reads and writes random audio.
    """
    any_audio(name, ask)
    print(f"{name}: {packages[0]}", flush=True)
    return {"by": packages[0], "answers": [ask(query) for query in questions(CASES[name])]}


def any_audio(name: str, ask: Ask) -> None:
    """Assert that random audio is read and written unchanged."""
    case = CASES[name]

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(min_size=640, max_size=640))
    def whatever(pcm: bytes) -> None:
        for query in questions(case, pcm, only_audio=True):
            check_answer(case, query, ask(query))

    whatever()


if __name__ == "__main__":
    main()
