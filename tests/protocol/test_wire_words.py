"""How a service spells things is known to its dialect alone: nobody else names its messages, errors or settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bench.protocol.openai_events import EFFECTS, LONGEST_SESSION, MODALITIES
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from tests.test_imports import MODULES, imports, nodes, within

WORDS = {*GA.acts, *GA.kinds, *PREVIEW.kinds, *EFFECTS, *MODALITIES, LONGEST_SESSION[1]} - {
    "error"
}  # a word of English
LIKE_A_NAME = re.compile(r"(session|conversation|response|input_audio_buffer|output_audio_buffer|rate_limits)\.[\w.]+")

MAY_KNOW = (
    "bench.protocol",
    "bench.simulator",  # is the service
    "bench.doctor",  # explains a service's own words
    "bench.remedies",  # says what helps against them
)
MAY_CHOOSE = (
    *MAY_KNOW,
    "bench.target",  # an address tells which dialect is spoken there
    "bench.calibrate.deviations",  # reads what the simulator has sent
)
"""Who may name one dialect; all others take the one that they are handed, or that the table has under a name."""


def constants(name: str) -> Iterator[str]:
    """Every text that stands in a module's code."""
    for node in nodes(name):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_only_a_dialect_knows_how_a_service_spells_things() -> None:
    others = [name for name in MODULES if within(name, "bench") and not within(name, *MAY_KNOW)]
    texts = {(name, text) for name in others for text in constants(name)}

    texts -= {(name, "session_expired") for name in others}  # an outcome of ours, spelled as the code of one service
    assert {(name, text) for name, text in texts if text in WORDS or LIKE_A_NAME.fullmatch(text)} == set()


def test_a_dialect_is_handed_on_and_not_named() -> None:
    others = [name for name in MODULES if within(name, "bench") and not within(name, *MAY_CHOOSE)]
    named = {(name, module) for name in others for module in imports(name)}

    assert {(name, module) for name, module in named if module.startswith("bench.protocol.openai")} == set()


def test_words_that_nobody_may_know_are_found_where_they_are_known() -> None:
    known = {text for name in MODULES if within(name, "bench.protocol") for text in constants(name)}

    assert known >= {*GA.acts, *EFFECTS, *MODALITIES}
