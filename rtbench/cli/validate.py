"""`rtbench validate`: checks scripts, targets, thresholds and protocol files without a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.base.errors import USAGE_STATUS, Mistakes, UsageError, each_error
from bench.files.sanitize import one_line
from rtbench.cli.options import argument, option

if TYPE_CHECKING:
    from bench.files.yaml_file import YamlValue
    from bench.plan.script import Script


MAX_CERTAIN = 8
"""The maximum number of recordings of a script that are printed, if the position of their speech
is certain."""


FileKind = Literal["script", "targets", "thresholds", "protocol"]


def validate(
    files: Annotated[
        list[Path], argument("Scripts, targets, thresholds and protocol files.", "FILE…")
    ],
    kind: Annotated[
        FileKind | None,
        option("Kind of the files, if their keys do not show it.", "--as", show_default=False),
    ] = None,
    is_synthesis: Annotated[
        bool,
        option(
            "Make the missing WAVs of the texts that scripts and Locust files say, instead.",
            "--synthesize",
        ),
    ] = False,
) -> None:
    """Check scripts, targets, thresholds and protocol files, and print every mistake with its
    place; needs no service.

    Of a script, also print where the speech of each recording starts and ends, and whether that is
    certain. A file is recognized by its keys, or by the schema that its first line names; if
    neither is enough, use --as. Exit status 2: there are mistakes.

    With --synthesize, the `synthesizer` of each script makes the WAVs: the command that the script
    names is run, or the texts are sent to the service that it names. A WAV that exists is not made
    again: delete it to make it again. Exit status 2: a script has mistakes, or a WAV could not be
    made.
    """
    if is_synthesis:
        from rtbench.cli.synthesize import synthesize

        synthesize(files)
        return
    count = 0
    for path in files:
        try:
            checked, script = _checked(path, kind)
            print(f"{path}: {checked}, no mistakes")
            for line in _speeches(script) if script else ():
                print(f"  {one_line(line)}")
        except UsageError as error:
            for line in dict.fromkeys(one_line(str(problem)) for problem in each_error(error)):
                print(line)
                count += 1
    if count:
        print(f"{count} mistake{'s' * (count > 1)}")
        raise typer.Exit(USAGE_STATUS)


def _speeches(script: Script) -> Iterator[str]:
    """Yield a line for each recording of a script. Of many recordings, those whose speech is
    certain are counted.
    """
    from bench.plan.found_speech import speeches

    found = speeches(script)
    certain = [speech for speech in found if not speech.doubt]
    left_out = set(certain if len(certain) > MAX_CERTAIN else ())
    yield from (speech.text for speech in found if speech not in left_out)
    if left_out:
        yield f"{len(left_out)} recordings: the start and the end of the speech are certain"


def _checked(path: Path, kind: FileKind | None) -> tuple[FileKind, Script | None]:
    """Check a file. Return its kind, and the script, if it is one. Raise UsageError with all
    mistakes in the file.
    """
    if path.suffix == ".py":
        raise UsageError(
            f"{path}: a Python file, but `rtbench validate` checks only YAML; `rtbench run {path}`"
            " runs it"
        )
    from bench.files.yaml_file import parsed_yaml, read_text

    text = read_text(path)
    root = parsed_yaml(path, text, "the file")
    kind = kind or _recognized(root, text)
    mistakes = Mistakes()
    script = None
    with mistakes.gather():
        if kind == "script":
            from bench.plan.script import load_script

            script = load_script(path)
        elif kind == "targets":
            from bench.target.targets import check_targets

            check_targets(path)
        elif kind == "protocol":
            from bench.services.registry import user_service

            user_service(path)
        else:
            from reports.metrics.thresholds import read_thresholds

            read_thresholds(path)
    if kind == "script" and (judged := root.within("thresholds")):
        from reports.metrics.measurable import refuse_unknown_step
        from reports.metrics.thresholds import placed_thresholds

        with mistakes.gather():
            for value, threshold in placed_thresholds(judged):
                if script is None:  # its mistakes are known, its steps are not
                    continue
                with mistakes.gather():
                    try:
                        steps = [(script.name, turn.name) for turn in script.turns]
                        refuse_unknown_step(threshold, steps, threshold.source_text)
                    except UsageError as error:
                        raise value.error(str(error)) from None
    mistakes.refuse()
    return kind, script


def _recognized(root: YamlValue, text: str) -> FileKind:
    """Return the kind of a file by its first line or its keys. Raise UsageError if neither shows
    it.
    """
    first = text.partition("\n")[0]
    kinds: tuple[FileKind, ...] = ("script", "targets", "protocol")
    for kind in kinds:
        if f"{kind}.schema.json" in first:
            return kind
    content = root.content()
    keys = set(content) if isinstance(content, dict) else set()
    if "targets" in keys:
        return "targets"
    if "protocol" in keys:
        return "protocol"
    from bench.plan.script import SCRIPT

    if keys & SCRIPT.fields.keys() - {"thresholds"}:
        return "script"
    from reports.metrics.thresholds import THRESHOLD_METRICS

    if {key.partition("{")[0].strip() for key in keys} & THRESHOLD_METRICS.keys():
        return "thresholds"
    raise UsageError(
        f"{root.position}: unknown kind of file: a script has `steps`, targets have `targets`, a"
        " protocol file has `protocol`, and a thresholds file names metrics; use --as script,"
        " targets, protocol or thresholds"
    )
