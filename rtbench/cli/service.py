"""The commands that call a service, `rtbench doctor` and `rtbench probe`, and `rtbench runs
replay`.

`with_service_options` adds the options that name a service to the commands that need them.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bench.base.errors import FAIL_STATUS, PASS_STATUS, UsageError
from bench.base.standard_streams import print_notice, text_width
from bench.base.units import NS_PER_S
from bench.files.sanitize import one_line, to_safe_json
from bench.target.target_settings import OPTIONS, ServiceOptions, TargetOption
from rtbench.cli.options import argument, option
from rtbench.cli.report import run_with_name, wants_colour

if TYPE_CHECKING:
    from bench.plan.prepared import PreparedScript
    from bench.probe import ReplyAudioListener
    from bench.record.replay import ReplayedSession
    from bench.target.target import Target
    from bench.wire.findings import CheckFinding

MAX_WIDTH = 100
COLOURS = {"pass": "green", "warning": "yellow", "fail": "red", "skipped": "bright_black"}
PANEL = "The service and the connection to it"
OF_COMMANDS = tuple(name for name in OPTIONS if name != "price_file")
"""The options that commands have. A file of prices is missing, because only a run needs it."""


def with_service_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options with these names, by default `OF_COMMANDS`, to those
    of a command.

    All options become keyword-only. The command receives the added ones as `service_options`. With
    `--simulator`, a simulator runs until the command has ended.
    """
    shared = [_parameter(OPTIONS[name]) for name in names or OF_COMMANDS]

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "service_options"
        ]

        def called(**values: Any) -> None:
            chosen = {parameter.name: values.pop(parameter.name) for parameter in shared}
            service_options = ServiceOptions.of(chosen)
            with (
                called_simulator(service_options.simulator_profile)
                if service_options.simulator
                else nullcontext()
            ):
                command(service_options=service_options, **values)

        called.__name__ = command.__name__
        called.__doc__ = command.__doc__
        # typer reads the signature.
        called.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        return called

    return decorated


def _parameter(option: TargetOption) -> inspect.Parameter:
    choices = f"; one of {', '.join(option.words)}" if option.words else ""
    help_text = f"{option.sentence[:-1]}{choices}."
    typer_option = typer.Option(
        option.flag, help=help_text, metavar=option.metavar, rich_help_panel=PANEL
    )
    kind = str if option.kind is tuple else option.kind
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, typer_option],
    )


@contextmanager
def called_simulator(profile: str | None = None) -> Iterator[None]:
    """Find or start the simulator of `--simulator`, with this profile. Name it to the processes
    of this command.
    """
    from bench.load.simulator_process import ADDRESS, simulator_to_call
    from rtbench.evaluation import EVALUATION
    from rtbench.locust_run import terminable

    with terminable(), simulator_to_call(profile, EVALUATION.command) as simulator:
        if simulator.notice:
            print(simulator.notice, file=sys.stderr, flush=True)
        os.environ[ADDRESS] = simulator.address
        yield


def resolved(service_options: ServiceOptions) -> ServiceOptions:
    """Return the options with the URL of the simulator of `called_simulator` in place of
    `--simulator`.
    """
    if not service_options.simulator:
        return service_options
    from bench.load.simulator_process import ADDRESS, with_simulator

    return with_simulator(service_options, os.environ[ADDRESS])


@with_service_options()
def doctor(
    service_options: ServiceOptions,
    as_json: Annotated[bool, option("Print one JSON document instead of lines.", "--json")] = False,
    turn: Annotated[
        bool, option("Send one sentence to the service; it costs about a cent.", "--turn/--no-turn")
    ] = True,
    offline: Annotated[
        bool, option("Check only this machine and targets.yaml, without a call.")
    ] = False,
) -> None:
    """Check this machine, the network and the service, and print each problem with its remedy.

    If no service is named, only this machine is checked; with --offline also every target of
    targets.yaml.

    Exit status: 0 nothing failed, 1 a check failed.
    """
    from bench.transport.gevent_patch import patch

    patch()
    from bench.doctor.diagnosis import any_failed
    from bench.doctor.machine_checks import check_machine
    from bench.doctor.service_checks import examine, examine_offline
    from bench.target.price_table import load_price_table
    from bench.target.targets import TARGET_FILE, resolve_every_target, resolve_targets
    from bench.target.unread_variables import ENDPOINT
    from bench.transport.ring.choice import chosen_reader
    from bench.wire.findings import CheckFinding

    targets: list[Target] = []
    examples: list[str] = []
    unnamed = ""
    try:
        options = resolved(service_options)
        if offline:
            targets, examples = resolve_every_target(os.environ, options)
        else:
            targets = resolve_targets(os.environ, options)
    except UsageError as error:
        if (
            service_options != ServiceOptions()
            or os.environ.get(ENDPOINT)
            or (offline and TARGET_FILE.exists())
        ):
            raise
        unnamed = str(error)
    prices = load_price_table(None).models
    emit = (lambda _, findings: list(findings)) if as_json else _printed
    skipped = [
        CheckFinding("target", "skipped", f"{name} of the file is an example: name your resource")
        for name in examples
    ]
    machine = emit("this machine", chain(check_machine(chosen_reader()), skipped))
    if offline:
        target_findings = [emit(target.label, examine_offline(target)) for target in targets]
    else:
        costs = " (a text turn costs about a cent; --no-turn skips it)"
        titles = [
            f"{target.label}{costs if turn and not target.loopback else ''}" for target in targets
        ]
        checks = [examine(target, prices, with_turn=turn) for target in targets]
        target_findings = [
            emit(title, target_checks) for title, target_checks in zip(titles, checks, strict=True)
        ]
    if unnamed and not as_json:
        _printed(
            "no service",
            [
                CheckFinding(
                    "service", "skipped", f"no target is named, so none was checked: {unnamed}"
                )
            ],
        )
    failed = any(any_failed(findings) for findings in (machine, *target_findings))
    if as_json:
        print(to_safe_json(_document(machine, targets, target_findings, failed)))
    raise typer.Exit(FAIL_STATUS if failed else PASS_STATUS)


def _printed(title: str, findings: Iterable[CheckFinding]) -> list[CheckFinding]:
    """Print each finding when it arrives, and return all."""
    from bench.doctor.diagnosis import STATE_WIDTH, lines

    typer.echo(f"\n{title}\n")
    printed = []
    for finding in findings:
        first, *more_lines = lines(finding, min(MAX_WIDTH, shutil.get_terminal_size().columns))
        state = typer.style(first[:STATE_WIDTH], fg=COLOURS[finding.result])
        typer.echo("\n".join([state + first[STATE_WIDTH:], *more_lines]))
        printed.append(finding)
    return printed


def _document(
    machine: list[CheckFinding],
    targets: list[Target],
    target_findings: list[list[CheckFinding]],
    failed: bool,
) -> dict[str, Any]:
    import msgspec

    from bench.doctor.diagnosis import CheckedTarget, DoctorDocument

    checked = [
        CheckedTarget(
            target.label, target.public_url, target.dialect.name, target.service, findings
        )
        for target, findings in zip(targets, target_findings, strict=True)
    ]
    document: dict[str, Any] = msgspec.to_builtins(
        DoctorDocument(3, "fail" if failed else "pass", machine, checked)
    )
    return document


DEFAULT_TEXT = "Hello, what can you do?"
PROBE_OPTIONS = {
    "input_transcription": "--input-transcription",
    "turn_detection": "--manual-commit",
}
"""The options that set a setting of another name."""


@with_service_options()
def probe(
    service_options: ServiceOptions,
    text: Annotated[str | None, option(f"Send this text (default: {DEFAULT_TEXT})")] = None,
    audio: Annotated[
        Path | None, option("Send this recording instead; the service finds its end.", "FILE")
    ] = None,
    manual_commit: Annotated[
        bool,
        option("With --audio: commit the recording and request the response."),
    ] = False,
    voice: Annotated[str | None, option("Voice of the reply.")] = None,
    instructions: Annotated[str | None, option("The system prompt.")] = None,
    input_transcription: Annotated[
        str | None, option("Model (Azure GA: deployment) that transcribes the recording.", "MODEL")
    ] = None,
    save_audio: Annotated[Path | None, option("Write the reply's audio as a WAV.", "FILE")] = None,
    event_log: Annotated[
        Path | None, option("Write every event, for `rtbench runs replay`.", "FILE")
    ] = None,
    record_audio: Annotated[bool, option("With --event-log: record the audio, too.")] = False,
    raw: Annotated[
        bool,
        option("Only open the connection, and print what the server sends in the first 10 s."),
    ] = False,
) -> None:
    """Send one turn to the service, and show every event, the metrics and the settings in effect.

    A target that only transcribes gets a recording: the one of --audio, or one of this tool. An
    agent may greet first.

    Exit status 0 when the turn is ok, 1 when it failed.
    """
    from bench.transport.gevent_patch import patch

    patch()
    from bench.doctor.service_findings import LIMITS
    from bench.plan.recordings import write_wav
    from bench.probe import script_of

    _refuse_mixture(
        text, audio, manual_commit=manual_commit, lone_record=record_audio and event_log is None
    )
    from bench.target.targets import resolve_targets
    from bench.wire.dialect import Feature, Peer

    targets = resolve_targets(os.environ, resolved(service_options))
    if len(targets) > 1:
        names = ", ".join(target.label for target in targets)
        raise UsageError(
            f"a probe calls one target, but {len(targets)} are selected: {names}; name one with"
            " --targets"
        )
    target = targets[0]
    if raw:
        raise typer.Exit(_print_raw(target))
    session = {
        "voice": voice,
        "instructions": instructions,
        "input_transcription": input_transcription,
    }
    _refuse_duplicates(target, session | {"turn_detection": "none" if manual_commit else None})
    if target.output:
        audio, session["turn_detection"] = _of_transcription(
            target, text, audio, session, manual_commit=manual_commit
        )
    elif audio is not None:
        session["turn_detection"] = (
            "none" if manual_commit else target.dialect.only_detection or "server_vad"
        )
    elif Feature.TYPED in target.dialect.missing_features:
        raise UsageError(f"{target.label} accepts only speech: name a recording with --audio")
    settings = {name: value for name, value in session.items() if value is not None}
    utterance = audio or (DEFAULT_TEXT if text is None else text)
    limits, greetings = (
        ({}, (False,)) if target.dialect.peer is Peer.SERVICE else (LIMITS, (True, False))
    )
    scripts = [
        script_of(target, utterance, settings, limits, greets=greets) for greets in greetings
    ]
    for flag, path in (("--save-audio", save_audio), ("--event-log", event_log)):
        if path is not None:
            _refuse_unwritable(flag, path)
    if save_audio is not None and save_audio == event_log:
        raise UsageError(
            f"--save-audio and --event-log are the same file, {save_audio}: choose another name"
            " for one"
        )
    for notice in target.notices:
        print_notice(notice)
    with tempfile.TemporaryDirectory() as folder:  # for the event log, if the user requests no log
        path = event_log or Path(folder) / "events.jsonl"
        reply, replayed = _probed(target, scripts, path, record_audio=record_audio)
    print_session(replayed, target=target)
    if save_audio is not None:
        responses = dict.fromkeys(turn.response_id for turn in replayed.turns)
        if audio_bytes := b"".join(map(reply.audio, responses)):
            write_wav(save_audio, audio_bytes, scripts[0].output_format)
        else:
            print_notice(f"no audio was received, so {save_audio} was not written")
    session_facts = replayed.session
    raise typer.Exit(
        PASS_STATUS if session_facts.turns_succeeded == session_facts.turns_planned else FAIL_STATUS
    )


def _print_raw(target: Target) -> int:
    """Print the messages of a server. Return the exit status."""
    from bench.catalogue.causes import ConnectError, text_of
    from bench.doctor.service_checks import recording
    from bench.probe import listen, script_of
    from bench.wire.dialect import BinaryMessage

    def show(after_ns: int, message: bytes) -> None:
        if isinstance(message, BinaryMessage):
            text = f"binary, {len(message)} bytes: {message[:16].hex(' ')}"
        else:
            text = _LONG.sub(_shortened, message.decode("utf-8", "replace"))
        print(f"{after_ns / NS_PER_S:7.3f} s  {one_line(text)}", flush=True)

    try:
        ended = listen(target, script_of(target, recording(), {}), show)
    except ConnectError as error:
        print(f"{error.outcome}: {one_line(text_of(error.causes))}")
        return FAIL_STATUS
    print(f"the server closed the connection: {one_line(ended)}" if ended else "it is still open")
    return PASS_STATUS


_LONG = re.compile(r'"[^"]{100,}"')


def _shortened(text: re.Match[str]) -> str:
    return f"{text[0][:60]}… ({len(text[0]) - 2} characters)"


def _probed(
    target: Target, scripts: Sequence[PreparedScript], path: Path, *, record_audio: bool
) -> tuple[ReplyAudioListener, ReplayedSession]:
    """Run a session of the first script and, if the agent does not greet in it, one of the next
    script.
    """
    from bench.doctor.service_findings import UNANSWERED
    from bench.probe import probe_target
    from bench.record.replay import replay_log

    reply = probe_target(target, scripts[0], path, record_audio=record_audio)
    replayed = replay_log(path)
    if len(scripts) == 1 or not replayed.turns or replayed.turns[0].outcome not in UNANSWERED:
        return reply, replayed
    print_notice("the agent did not greet; in the next call the caller speaks first")
    return _probed(target, scripts[1:], path, record_audio=record_audio)


def _refuse_mixture(
    text: str | None, audio: Path | None, *, manual_commit: bool, lone_record: bool
) -> None:
    if text is not None and audio is not None:
        raise UsageError("--text and --audio are two turns, but a probe sends one: leave one out")
    if manual_commit and audio is None:
        raise UsageError(
            "--manual-commit needs --audio, because text has no end of speech: leave"
            " --manual-commit out"
        )
    if lone_record:
        raise UsageError("--record-audio needs --event-log: add it, or leave --record-audio out")


def _of_transcription(
    target: Target,
    text: str | None,
    audio: Path | None,
    session: Mapping[str, Any],
    *,
    manual_commit: bool,
) -> tuple[Path, str | None]:
    """Return the recording, by default one of this tool, and the turn detection; "none" for a
    model without it.
    """
    from bench.doctor.service_checks import recording

    if text is not None:
        raise UsageError(
            f"{target.label} only transcribes, so --text has no effect: use --audio FILE"
        )
    transcription = target.session.get("input_transcription") or session["input_transcription"]
    if transcription is None:
        raise UsageError(
            f"{target.label} only transcribes: name the model (Azure GA: the deployment) with"
            " --input-transcription"
        )
    model = transcription.get("model") if isinstance(transcription, Mapping) else transcription
    if "turn_detection" in target.session:
        return audio or recording(), None
    return (
        audio or recording(),
        "none" if manual_commit or model in target.dialect.transcribers else "server_vad",
    )


def _refuse_duplicates(target: Target, session: dict[str, Any]) -> None:
    for name in target.session:
        if session.get(name) is not None:
            option = PROBE_OPTIONS.get(name, f"--{name}")
            kind = "variant" if target.variant_of else "target"
            raise UsageError(
                f"{option} and the {kind} {target.label} both set {name}: leave out the option, or"
                " --targets"
            )


def _refuse_unwritable(option: str, path: Path) -> None:
    """Raise UsageError if the file exists or cannot be written. Check before the turn, which may
    cost money.
    """
    if path.is_file():
        raise UsageError(f"{option} {path} exists; choose another name")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(
            f"{option} {path} cannot be written: it is a folder or read-only, or its folder does"
            " not exist"
        )


def replay(
    name: Annotated[
        str,
        argument(
            "An event log (events/*.jsonl of a run), or a run, for its first log (default: the"
            " newest run).",
            "[LOG|RUN]",
        ),
    ] = "",
    wav: Annotated[
        Path | None,
        option("Write the call as a WAV: the caller, and what the caller heard.", "--wav"),
    ] = None,
) -> None:
    """Show the events of a recorded session, and compute its metrics again from the log.

    `--wav` needs a log with audio (`--record-audio`).
    """
    from bench.plan.recordings import write_channels
    from bench.record.call_audio import call_audio
    from bench.record.replay import replay_log

    log = _event_log(name)
    if wav is not None:
        _refuse_unwritable("--wav", wav)
        write_channels(wav, call_audio(log))
        print(
            f"{one_line(str(wav))}: channel 1 is the caller, and channel 2 is what the caller heard"
        )
    print_session(replay_log(log), again=True)


def _event_log(name: str) -> Path:
    """Return the event log with this name, or the first log of the run with this name."""
    from bench.record.presence import file_status, is_folder

    if name.endswith(".jsonl") or (file_status(Path(name)) and not is_folder(Path(name))):
        return Path(name)
    run = run_with_name(name)
    logs = sorted((run / "events").glob("*.jsonl"))
    if not logs:
        raise UsageError(
            f"{run} has no event logs: run it with --record-events 1%, or name a log"
            " (events/*.jsonl)"
        )
    return logs[0]


def print_session(
    replayed: ReplayedSession, *, again: bool = False, target: Target | None = None
) -> None:
    from bench.target.price_table import load_price_table
    from rtbench.cli.session_text import session_text

    prices = load_price_table(None).models
    for line in session_text(
        replayed, text_width(), colour=wants_colour(), again=again, target=target, prices=prices
    ):
        print(line)
