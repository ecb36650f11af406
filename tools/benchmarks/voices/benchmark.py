"""The options of the benchmark, and what it prints before its tables."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence

from tools.benchmarks.voices.conditions import CONDITIONS
from tools.benchmarks.voices.corpus import all_recordings, in_split, split_of, truths
from tools.benchmarks.voices.offline import measured, text_of
from tools.benchmarks.voices.packages import packages
from tools.made_page import table


def main(arguments: Sequence[str] = ()) -> None:
    options = parser().parse_args(arguments)
    print(corpora())
    voices = in_split(options.split)
    speakers = {entry.recording.speaker for entry in voices}
    print(f"Split {options.split}: {len(voices)} voices of {len(speakers)} speakers.\n")
    conditions = [name for name in CONDITIONS if options.only.casefold() in name.casefold()]
    before = time.monotonic()
    listed = measured(conditions, options.split, options.count)
    print(
        "A value is beyond its bound if its error exceeds the bound by more than 5 ms; in"
        " recordings as they ship, by more than 20 ms, which is how far the two rules agree. `bias`"
        " is the median error, `p95` that of its magnitude.\n"
    )
    print(text_of(listed, options.worst))
    print(f"{time.monotonic() - before:.0f} s\n")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tools.benchmarks.voices", description=__doc__)
    made.add_argument(
        "--split", choices=("tuning", "held-out", "all"), default="held-out", help="the speakers"
    )
    made.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="only conditions whose name contains this text",
    )
    made.add_argument(
        "--count",
        type=int,
        default=150,
        metavar="N",
        help="streams by condition (default: %(default)s)",
    )
    made.add_argument(
        "--worst", type=int, default=0, metavar="N", help="print failing values, N by condition"
    )
    return made


def corpora() -> str:
    """Return the packages, the speakers and the number of voices that are used."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for recording in all_recordings():
        counts[recording.package][0] += 1
    for entry in truths():
        counts[entry.recording.package][1] += 1
    rows = [
        (
            package.name,
            package.version,
            " ".join(
                sorted({one.language for one in all_recordings() if one.package == package.name})
            ),
            " ".join(
                f"{speaker}{'*' if split_of()[speaker] == 'tuning' else ''}"
                for speaker in sorted(
                    {one.speaker for one in all_recordings() if one.package == package.name}
                )
            ),
            *(f"{count:,}" for count in counts[package.name]),
        )
        for package in packages()
    ]
    return table(
        ("package", "version", "languages", "speakers (* tuning)", "recordings", "used"), rows
    )
