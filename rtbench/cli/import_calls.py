"""`rtbench runs import`: recorded calls become scripts, and a run with the measurements of what the
agent did.
"""

from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import typer

from bench.base.errors import FAIL_STATUS, UsageError
from bench.base.standard_streams import print_notice
from bench.files.sanitize import one_line, slug
from reports.formatting import plural
from rtbench.cli.options import argument, option

MAX_LINES = 20
"""The maximum number of lines about calls. Further ones are counted."""


def import_calls(
    files: Annotated[
        list[Path], argument("Recordings in two channels, or folders of them.", "CALL")
    ],
    caller: Annotated[
        Literal["auto", "1", "2"],
        option("The channel of the caller; auto: 1, with a check.", "--caller"),
    ] = "auto",
    out: Annotated[Path, option("The folder of the scripts and their WAVs.", "--out")] = Path(
        "recorded"
    ),
    transcript: Annotated[
        Path | None,
        option(
            "A JSON file with words and times, or a folder with CALL.json files.", "--transcript"
        ),
    ] = None,
    source: Annotated[
        str | None,
        option(
            "The lossy codec before a conversion to WAV, such as mp3; it widens the bounds.",
            "--source",
        ),
    ] = None,
    turn_detection: Annotated[
        Literal["full_duplex", "server_vad", "semantic_vad"],
        option(
            "Of the scripts. full_duplex: for agents; others: for the Realtime API.",
            "--turn-detection",
        ),
    ] = "full_duplex",
    input_transcription: Annotated[
        str | None,
        option("The scripts' transcription model, to check the words.", "--input-transcription"),
    ] = None,
    name: Annotated[str, option("The name of the run.", "--name")] = "recorded",
    runs_dir: Annotated[Path, option("The folder for run folders.", "--runs-dir")] = Path("runs"),
) -> None:
    """Import recorded calls: write a script for each caller, and measure what the agent did.

    A recording has the caller and the agent in two channels (WAV, FLAC, Ogg; PCM, G.711 or Opus).

    `rtbench runs import calls/*.wav` writes recorded/*.yaml and a run folder, which is marked as
    RECORDED. Then `rtbench run recorded/*.yaml` plays the callers against today's agent, and
    `rtbench compare RECORDED NEW` compares both runs. A later import into the same folder adds the
    new calls.

    Exit status: 0 if all calls were imported, 1 if some were left out, 2 if none was imported.
    """
    from bench.recorded_calls.import_calls import ImportOptions, import_calls
    from bench.wire.codec_errors import CODECS

    session: dict[str, Any] = {"turn_detection": turn_detection}
    if input_transcription is not None:
        if turn_detection == "full_duplex":
            raise UsageError(
                "--input-transcription needs --turn-detection server_vad: agents do not transcribe"
            )
        session["input_transcription"] = input_transcription
    if slug(name) != name or not name.strip("."):
        raise UsageError(
            f"--name {name!r} must be 1 to 64 letters, digits, and the characters . _ -"
        )
    if source is not None and source not in CODECS:
        raise UsageError(f"--source {source!r} is no lossy codec; known are {', '.join(CODECS)}")
    found, left_out = _recordings(files)
    result = import_calls(
        found, ImportOptions(runs_dir, out, name, caller, session, transcript, source)
    )
    _print_lines([*left_out, *result.known, *result.remarks])
    for line in result.refused[:-1] if result.folder is None else result.refused:
        print_notice(one_line(line))
    if result.folder is None and not result.refused:
        print(f"Imported no call, because {quote(str(out))} has all of them")
        return
    if result.folder is None:
        raise UsageError(result.refused[-1])
    calls = f"{result.calls} of {result.calls + len(result.refused)} calls"
    turns = plural(result.turns, "turn")
    print(f"Imported {calls}, with {turns}, RECORDED:")
    run = quote(str(result.folder))
    is_all = len(result.scripts) == len(list(out.glob("*.yaml")))
    scripts = (
        f"{quote(str(out))}/*.yaml"
        if is_all
        else " ".join(quote(str(path)) for path in result.scripts)
    )
    print(f"  {run}: what the agent did; see it with rtbench report {run}")
    print(
        f"  {scripts}: what the callers did; play it with rtbench run {scripts} --url URL --dialect"
        " DIALECT"
    )
    if result.refused:
        raise typer.Exit(FAIL_STATUS)


def _recordings(files: list[Path]) -> tuple[list[Path], list[str]]:
    """Return (recordings, one line for each folder with other entries). A folder stands for all
    audio files in it.
    """
    found = list[Path]()
    lines = list[str]()
    for path in files:
        try:
            entries = sorted(path.iterdir()) if path.is_dir() else []
        except OSError:  # the import states the reason
            entries = []
        inside = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
        found += inside or [path]
        if inside and (others := [entry.name for entry in entries if entry not in inside]):
            listed = ", ".join([*others[:3], "…"] if len(others) > 3 else others)
            lines.append(
                f"{path}: left out {len(others)} of {len(entries)} entries, which are not audio:"
                f" {listed}"
            )
    return found, lines


REFUSED_SUFFIXES = (".mp3", ".m4a", ".mp4", ".aac", ".amr", ".wma", ".webm", ".gsm", ".raw")
SUFFIXES = frozenset(
    (".wav", ".flac", ".ogg", ".opus", ".au", ".aiff", ".aif", ".caf", ".w64", *REFUSED_SUFFIXES)
)
"""The suffixes of audio files. The import names each audio file that it cannot read, with a
remedy."""


def _print_lines(lines: list[str]) -> None:
    for line in lines[:MAX_LINES]:
        print(one_line(line))
    if len(lines) > MAX_LINES:
        print(f"… and {plural(len(lines) - MAX_LINES, 'more line')}")
