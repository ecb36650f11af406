"""`rtbench validate --synthesize`: makes the WAVs of the texts that scripts say."""

import os
from collections.abc import Sequence
from pathlib import Path

from bench.base.errors import Mistakes
from bench.files.sanitize import one_line


def synthesize(files: Sequence[Path]) -> None:
    """Make the missing WAVs of the texts that scripts and Locust files say. Print a line for each
    file, and raise UsageError with all mistakes and failures.
    """
    from bench.load.planning.command_line import LOCUST_SUFFIX

    if any(path.suffix == LOCUST_SUFFIX for path in files):
        from bench.transport.gevent_patch import patch

        patch()  # before the imports of Locust
    from rtbench.synthesis import SynthesizedFile, synthesize_file, unused_wavs

    results = list[SynthesizedFile]()
    mistakes = Mistakes()
    for path in files:
        with mistakes.gather():
            result, failures = synthesize_file(
                path, os.environ, lambda line: print(one_line(line), flush=True)
            )
            mistakes.errors += failures
            results.append(result)
            print(
                one_line(
                    f"{path}: {result.summary}"
                    if result.texts or failures
                    else f"{path}: says no text"
                )
            )
    mistakes.refuse()
    for wav in unused_wavs(results):
        print(one_line(f"{os.path.relpath(wav)}: belongs to no text of these files"))
