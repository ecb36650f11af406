"""`rtbench init --labels`: scripts from labelled recordings of people."""

from pathlib import Path
from shlex import quote

from bench.files.sanitize import one_line
from reports.formatting import plural


def write_labelled(folder: Path, labels: Path, *, is_agent: bool) -> None:
    """Write a script for each language of labelled recordings, and print what is in them. Raise
    UsageError.
    """
    from bench.corpus.scripts import import_corpus

    detection = "full_duplex" if is_agent else "server_vad"
    made = import_corpus(labels, folder, {"turn_detection": detection})
    lines = [
        f"{path}: {plural(len(turns), 'turn')},"
        f" {sum(bool(turn.speech.pauses) for turn in turns)} with pauses"
        for path, turns in made.scripts.items()
    ]
    lines += (f"left out {count}: {reason}" for reason, count in made.left_out.items())
    if doubtful := made.doubtful:
        lines.append(
            f"{plural(len(doubtful), 'recording')} with sound after the labelled end, such as"
            f" {doubtful[0].file} for {doubtful[0].after_s:.1f} s: check these labels"
        )
    for line in lines:
        print(one_line(line))
    print(f"Next: rtbench sweep {quote(str(folder))}/*.yaml --vary KEY=V,V --sessions 60 -u 4")
