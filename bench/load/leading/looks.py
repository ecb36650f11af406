"""Starts the children of a run: one plans how it is decided, others look whether it is, the last close and report it.

This process's loop must not stand still meanwhile. The plan and what a look says are computed by children:
`reports.looks` reads the run folder as everybody does. Nobody here knows a figure; the plan and the looks alone decide.
No look holds up the loop of the sessions: a fork of a process of 400 MB does so for 20 to 30 ms, as gevent's `Popen`
makes it; `posix_spawn` for less than can be told from nothing.

While the harness is late no look is held, and at a limit the run is given up. Whether it is late is what its verdict
would say if the run ended now, so it may still become valid. Where it does not for a tenth of the planned pairs in a
row (ten at least), the rest of them would be paid for in vain. The rules are about p99, which of fewer than 100 turns
is the worst of them: until both arms have so many, nothing is given up.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gevent
from gevent.os import posix_spawn, waitpid

from bench.clock import monotonic_ns, utc_ns
from bench.cpu import LOWERED
from bench.errors import INVALID_STATUS, USAGE_STATUS, UsageError
from bench.installation import KILLED_S, own_environment, python_command
from bench.live_line import text_width
from bench.load.planning.planned import LONG_RUN_S
from bench.load.planning.plays import Plays, script_facts
from bench.load.planning.run_options import Options
from bench.run import folder as files
from bench.run import spool
from bench.run.part import parts
from bench.run.upload import URL_VARIABLE
from bench.run.validity import MORE_PROCESSES
from bench.units import NS_PER_S

LEAST_PAIRS, LEAST_TURNS = 10, 200
"""The turns are those of both arms."""
MOST_OF_PLAN = 0.1
PLAN, LOOK = python_command("reports.looks", "plan"), python_command("reports.looks", "look")
ANSWER_S = 120.0
LONGEST_S, AGAIN_S = 600.0, 1.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A child takes its time on one core, and leaves the others to the load."""

NO_THRESHOLDS: Mapping[str, Sequence[str]] = {}
LookPlan = Mapping[str, Any]
"""`pairs`, `looks` (sizes), `gates` (measure → thresholds), `level`, `spending`, `draws`; as in run.json.

`notices`: what to know before the run, where there is anything.
"""


def scripts_of(plays: Mapping[str, Plays]) -> list[dict[str, Any]]:
    """The scripts of each arm as in run.json, with the label of each turn: None where a method makes them up."""
    scripts = {each.script.name: each.script for arm in plays.values() for each in arm.values()}
    labels = {name: None if of.task else [turn.name for turn in of.turns] for name, of in scripts.items()}
    return [fact | {"steps": labels[fact["name"]]} for fact in script_facts(plays)]


def sequential_plan(
    options: Options,
    pairs: int,
    scripts: Sequence[Mapping[str, Any]],
    *,
    lacking: Sequence[Mapping[str, Any] | None] = (),
    thresholds: Mapping[str, Sequence[str]] = NO_THRESHOLDS,
    command: Sequence[str] = PLAN,
) -> LookPlan:
    """Return the plan of a run. `scripts`: as `scripts_of` has them; `lacking`: what they can never show.

    `thresholds`: those of the scripts, which a file replaces.

    Raises UsageError for thresholds that cannot be used.
    """
    of_one = {fact["name"]: {key: fact[key] for key in ("name", "turns", "steps")} for fact in scripts}
    asked = {
        "metric": "ttft" if all(fact["output"] == "text" for fact in scripts) else "ttfa",
        "targets": list(dict.fromkeys(fact["target"] for fact in scripts)),
        "scripts": list(of_one.values()),
        "pairs": pairs,
        "every": options.interim_every,
        "lacking": lacking,
        "thresholds": str(options.thresholds) if options.thresholds else None,
        "of_scripts": thresholds,
    }
    plan: LookPlan = child_answer(
        [*command, json.dumps(asked)],
        late=f"planning interim analyses took over {ANSWER_S:.0f} s",
        failed="the interim analyses could not be planned",
    )
    return plan


def child_answer(called: Sequence[str], *, late: str, failed: str) -> Any:
    """Return the JSON that a command prints. Raises UsageError with the last line of its error, or with `failed`.

    `late`: what is said if it takes longer than ANSWER_S.
    """
    environment = own_environment(os.environ)
    try:
        ended = subprocess.run(called, capture_output=True, text=True, env=environment, check=False, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        raise UsageError(f"{late}: is the machine busy?") from None
    if ended.returncode != 0:
        raise UsageError((ended.stderr.strip().splitlines() or [failed])[-1])
    return json.loads(ended.stdout)


def plan_words(plan: LookPlan) -> str:
    """What decides the run, in one line."""
    gates = "; ".join(f"{metric} {', '.join(texts)}" for metric, texts in plan["primary_metrics"].items())
    looks = plan["analyses"]
    sizes = ", ".join(str(size) for size in looks[:2]) + (f" … {looks[-1]}" if len(looks) > 2 else "")
    return f"the run ends once it is decided: {gates}; interim analyses at {sizes} pairs"


# Looks at the run while it goes on.


class LatenessWatch:
    """Watches a run that is planned for so many pairs. `say` tells, `give_up` ends the run as invalid, and says why."""

    def __init__(self, pairs: int, *, say: Callable[[str], None], give_up: Callable[[str], None]) -> None:
        self._most = max(LEAST_PAIRS, math.ceil(pairs * MOST_OF_PLAN - 1e-9))
        self._say, self._give_up = say, give_up
        self._since: int | None = None
        self._given_up = False

    def consider(self, late: str, pairs: int, turns: int) -> bool:
        """Whether the harness is late. `late`: by which figure, empty where by none; `pairs`, `turns`: that ended."""
        if not late:
            if self._since is not None:
                self._say("the load generator keeps up again; interim analyses continue")
            self._since = None
            return False
        if self._since is None:
            self._since = pairs
            self._say(
                f"the load generator is overloaded ({late}), so interim analyses are suspended; the run ends if this "
                f"lasts for {self._most} pairs: {MORE_PROCESSES}"
            )
        if pairs - self._since >= self._most and turns >= LEAST_TURNS and not self._given_up:
            self._given_up = True
            self._give_up(f"the load generator was overloaded for {pairs - self._since} pairs in a row ({late})")
        return True


def is_due(looks: Sequence[int], held: int, pairs: int, tried: int) -> bool:
    """Whether a look may be held, with so many pairs complete. `tried`: pairs at the last attempt.

    The last of the planned looks is at the run's own end.
    """
    return held < len(looks) - 1 and pairs >= looks[held] and pairs > tried


class Looks:
    """Looks at a run while it goes on, one at a time.

    `stop` ends it, with the reason; `give_up` ends it as invalid, with the cause; `say` tells of trouble.
    """

    def __init__(
        self,
        folder: Path,
        plan: LookPlan,
        *,
        stop: Callable[[str], None],
        give_up: Callable[[str], None],
        say: Callable[[str], None],
        command: Sequence[str] = LOOK,
    ) -> None:
        self._folder, self._sizes, self._command = folder, list(plan["analyses"]), command
        self._stop, self._say = stop, say
        self._known = self._tried = self._held = 0
        self._lateness = LatenessWatch(self._sizes[-1], say=say, give_up=give_up)
        self._late = self._ended = False
        self._looking: gevent.Greenlet | None = None
        self._trouble = ""

    @property
    def standing(self) -> tuple[int, int]:
        """Return how many looks were held and how many are planned, also after the run was decided."""
        return self._held, len(self._sizes)

    def consider(self, pairs: int, turns: int = 0, late: str = "") -> None:
        """Start a look where one is due. `pairs`: that are complete; asked again and again, a second apart.

        It goes by the number of the time before: their rows are on the disk by now. `late`: by which figure of so many
        `turns` the harness is late; then no look is held.
        """
        known, self._known = self._known, pairs
        self._late = self._lateness.consider(late, pairs, turns)
        if self._late or self._ended:
            return
        if not self._looking and is_due(self._sizes, self._held, known, self._tried):
            self._tried = known
            self._looking = gevent.spawn(self._look)

    def _look(self) -> None:
        try:
            lines = output_of([*self._command, str(self._folder)]).strip().splitlines()
            said: dict[str, Any] = json.loads(lines[-1] if lines else "")
            self._held = max(self._held, int(said["analysis"]))
        except (OSError, ValueError, KeyError) as error:
            trouble = f"an interim analysis failed: {error}"
            if trouble != self._trouble:  # once of each kind; the run goes on, and the next look is as good
                self._trouble = trouble
                self._say(trouble)
            return
        if said["stopped"] and not self._late:  # else the next look finds the same
            self._stop(str(said["sentence"]))

    def end(self) -> None:
        """Hold no further looks, and end the one under way."""
        self._ended = True
        if self._looking is not None:
            self._looking.kill()


# How a child is run.


def output_of(command: Sequence[str], longest_s: float = LONGEST_S) -> str:
    """Return what a command prints; other greenlets run meanwhile, and the command ends where this one is killed.

    Raises OSError where it does not end well, with the last line of what it said, or not within `longest_s`.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, Path(os.devnull).open("rb") as nothing:
        pid = _spawned(command, nothing, output, errors)
        status = None
        try:
            os.setpriority(os.PRIO_PROCESS, pid, LOWERED)
            status = _status(pid, longest_s)
        finally:
            if status is None:
                os.killpg(pid, signal.SIGKILL)
                _status(pid, KILLED_S)
        if status is None:
            raise OSError(f"it took longer than {longest_s:g} s, and was ended")
        if status != 0:
            raise OSError((_text(errors).strip().splitlines() or [f"status {status}"])[-1])
        return _text(output)


def _status(pid: int, longest_s: float) -> int | None:
    """Wait for a child's exit status; None where it has not ended after so long.

    The loop hears of children by SIGCHLD alone, which is lost where somebody else has its handler. So that is set and
    the signal given again each second: then the loop looks at all of them.
    """
    loop = gevent.get_hub().loop
    until_ns = monotonic_ns() + int(longest_s * NS_PER_S)
    while (left_ns := until_ns - monotonic_ns()) > 0:
        ended = gevent.with_timeout(min(left_ns / NS_PER_S, AGAIN_S), waitpid, pid, 0, timeout_value=None)
        if ended is not None:
            return os.waitstatus_to_exitcode(ended[1])
        loop.reset_sigchld()  # else it takes its handler for set
        loop.install_sigchld()
        os.kill(os.getpid(), signal.SIGCHLD)
    return None


def _spawned(command: Sequence[str], *files: IO[bytes]) -> int:
    """Start the process in a session of its own: Ctrl-C is not for it. `files`: its first descriptors."""
    gevent.get_hub().loop.install_sigchld()  # gevent does so once the child runs, which may have ended by then
    taken = [(os.POSIX_SPAWN_DUP2, file.fileno(), place) for place, file in enumerate(files)]
    environment = own_environment(os.environ) | ONE_THREAD
    return int(posix_spawn(command[0], command, environment, file_actions=taken, setsid=True))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


REPORT_S, SPOOLED_BYTES_PER_S = 600, 200_000
"""Seconds that a child may take for a run without rows, and the bytes of spool that add one each: some 1 kB a turn."""
UPLOAD_S, UPLOADED_BYTES_PER_S = 600, 1_000_000
TIMED_OUT = 124
"""As timeout(1) has it."""
DECIDED = (0, 1, 3, 4)
"""Exit statuses of a decision and a check: passed, failed or regressed, inconclusive, the run is invalid."""


@dataclass(frozen=True)
class ClosedRun:
    """A summary to print, and the exit status that the run calls for, None for Locust's own."""

    summary: str
    problem: str
    status: int | None


def close_run(
    folder: Path, document: dict[str, Any], stopped: str, check_options: Sequence[str] | None = None
) -> ClosedRun:
    """Make Parquet, histograms, the verdict, the decision where one is to be made, and the report of it all.

    `check_options`: those by which `rtbench check` judges the run; None where nothing judges it.
    """
    document |= {"state": "closing", "ended_utc_ns": utc_ns(), "stop_reason": stopped}
    length_s = (document["ended_utc_ns"] - document["started_utc_ns"]) / NS_PER_S
    document["notices"] = [*document["notices"], *uncut(document, length_s)]
    with contextlib.suppress(OSError):  # a full disk was reported; the document of the start is still there
        files.write_document(folder, document)
    longest_s = longest_report_s(folder)
    # the decision before the report, which shows it; either of them closes the folder
    decided = (
        _child(python_command("rtbench.cli.decision", str(folder)), longest_s, f"rtbench check {folder}")
        if "sequential_plan" in document
        else None
    )
    reported = _called("report", folder, longest_s)
    if reported.returncode != 0:
        return ClosedRun("", _last_line(reported.stderr, "the report could not be made"), USAGE_STATUS)
    unusable = run_status(files.read_document(folder))
    summary = reported.stdout.rstrip("\n")
    if decided is not None:
        if decided.returncode not in DECIDED:
            return ClosedRun(summary, _last_line(decided.stderr, "the run could not be decided"), USAGE_STATUS)
        summary = with_sentence(summary, decided.stdout, text_width())
        unusable = unusable or decided.returncode
    if check_options is None:
        return ClosedRun(summary, "", unusable)
    checked = _called("check", folder, longest_s, *check_options)
    summary = f"{summary}\n\n{checked.stdout}".rstrip()
    if checked.returncode not in DECIDED:
        return ClosedRun(summary, _last_line(checked.stderr, "the run could not be checked"), USAGE_STATUS)
    return ClosedRun(summary, "", joined_status(unusable or 0, checked.returncode))


def joined_status(*statuses: int) -> int:
    """The exit status of a run with several verdicts: the one that says most against it."""
    return next((status for status in (INVALID_STATUS, 1, 3) if status in statuses), 0)


def upload_run(folder: Path, url: str) -> str:
    """Upload the folder to this URL; returns the lines to print. Raises UsageError if a file does not arrive."""
    size_bytes = sum(path.lstat().st_size for path in folder.rglob("*"))
    uploaded = _called("upload", folder, UPLOAD_S + size_bytes / UPLOADED_BYTES_PER_S, **{URL_VARIABLE: url})
    if uploaded.returncode != 0:
        raise UsageError(_last_line(uploaded.stderr, "the folder could not be uploaded"))
    return uploaded.stdout.strip()


def run_status(document: Mapping[str, Any]) -> int | None:
    """The exit status of a run: 4 where it is invalid or was not judged; None, for Locust's own, where it is valid."""
    validity = document.get("validity") or {}
    return None if validity.get("status") == "valid" else INVALID_STATUS


def longest_report_s(folder: Path) -> float:
    """How long a child may take for what a run recorded: a multiple of what the slowest machines take."""
    recorded = sum(part.size_bytes(table) for part in parts(folder) for table in files.SCHEMAS)
    return REPORT_S + recorded / SPOOLED_BYTES_PER_S


def _called(
    command: str, folder: Path, longest_s: float, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of `rtbench` on the folder."""
    called = python_command("rtbench.cli.app", command, str(folder), *options)
    return _child(called, longest_s, f"rtbench {command} {folder}", **variables)


def _child(called: Sequence[str], longest_s: float, again: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of our modules, for a terminal as wide as ours, and end it if it takes too long.

    `again`: the command by which a user repeats it.
    """
    terminal = {"COLUMNS": str(shutil.get_terminal_size().columns), "FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
    try:
        return subprocess.run(
            called,
            capture_output=True,
            text=True,
            start_new_session=True,  # Ctrl-C is not for it
            env=own_environment(os.environ) | terminal | variables,
            check=False,
            timeout=longest_s,
        )
    except subprocess.TimeoutExpired:
        said = f"took longer than {longest_s / 60:.0f} min and was ended; no row is lost: {again}"
        return subprocess.CompletedProcess(called, TIMED_OUT, "", f"`{again}` {said}")


def _last_line(errors: str, otherwise: str) -> str:
    return (errors.strip().splitlines() or [otherwise])[-1].removeprefix("rtbench: ")


def with_sentence(summary: str, decided: str, width: int) -> str:
    """Put the first line of the decision into a summary, above its last two: the verdict, and where the page is."""
    lines, said = summary.splitlines(), decided.strip().splitlines()
    wrapped = textwrap.wrap(said[0], width, break_long_words=False, break_on_hyphens=False) if said else []
    return "\n".join([*lines[:-2], *wrapped, *lines[-2:]])


def uncut(document: Mapping[str, Any], length_s: float) -> list[str]:
    """The notice of a long run that has no warm-up, because nobody knew how long it would be."""
    if length_s < LONG_RUN_S or document["warmup_s"] or "warmup" in document["settings"]:
        return []
    return ["No warm-up was cut, because the run's length was not known beforehand; --warmup 1m cuts a minute."]


def holds_rows(folder: Path) -> bool:
    """Whether a run that could not be reported has saved anything that can be, once there is room."""
    tables: tuple[files.TableName, ...] = ("turns", "sessions")
    spooled = any(len(batch) for table in tables for batch in files.spooled_batches(folder, table))
    return spooled or not spool.is_kept(folder)
