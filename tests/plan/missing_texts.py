"""The texts to say whose WAVs are missing."""

from __future__ import annotations

from pathlib import Path

from bench.base.errors import UsageError, each_error
from bench.plan.script import load_script
from bench.plan.synthesizer import SpeechText, missing_speech


def missing_texts(path: Path) -> list[SpeechText]:
    """Return the texts of a script whose WAVs are missing. Raise UsageError if the script has
    another mistake.
    """
    try:
        load_script(path)
    except UsageError as error:
        found = [missing_speech(problem) for problem in each_error(error)]
        if None in found:
            raise
        return [speech for speech in found if speech is not None]
    return []
