"""`rtbench init` and `rtbench quickstart`: the first commands of a new user."""

import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Annotated, Literal

import typer

from bench.base.errors import UsageError
from bench.base.installation import EXAMPLES
from bench.base.suggestions import did_you_mean
from bench.files.sanitize import escape_control
from bench.target.target_settings import SIMULATOR_PORT, ServiceOptions
from rtbench.cli.labels import write_labelled
from rtbench.cli.options import argument, option
from rtbench.cli.service import with_service_options

KEPT_PATHS = (
    "voice_turns.py",
    "targets.schema.json",
    "scripts/voice_turns.yaml",
    "scripts/script.schema.json",
    "audio/opening_hours.wav",
    "audio/late_parcel.wav",
    "audio/order_number.wav",
    "audio/goodbye.wav",
)
"""The files with the same path in the tool's `scenarios` and the user's folder, so that commands
work in both."""
AGENT_PATHS = (
    "agent.py",
    "targets.schema.json",
    "scripts/agent.yaml",
    "scripts/script.schema.json",
    "audio/opening_hours.wav",
    "audio/late_parcel.wav",
    "audio/not_today.wav",
)
"""The files with the same path in both folders, for a user who tests an agent."""
Files = Mapping[Path, bytes]
"""The contents of files, by their paths."""
FIRST_CALLS = b"-u 5 -r 1 --sessions 20"
AGENT_CALLS = b"-u 10 -r 1 --sessions 100 --yes"
"""The options for the load in the generated workflow: for a service, and for an agent."""
EXTRAS = {
    "barge-in": ("scripts/barge_in.yaml", "audio/uh_huh.wav", "audio/not_today.wav"),
    "tools": ("scripts/tools.yaml",),
}
"""A mapping from a name for `--with` to the files that it adds to a new folder."""


CiSystem = Literal["github", "azure"]
WORKFLOWS: dict[CiSystem, str] = {
    "github": ".github/workflows/latency.yml",
    "azure": "azure-pipelines.yml",
}


def init(
    folder: Annotated[
        Path, argument("The folder to write to; created if it does not exist.", show_default=True)
    ] = Path("."),
    ci: Annotated[
        CiSystem, option("Write a workflow for GitHub Actions, or for Azure Pipelines.")
    ] = "github",
    agent: Annotated[
        bool,
        option("Write calls to your own agent over Twilio, Azure, a plain WebSocket or SIP."),
    ] = False,
    service: Annotated[
        str | None,
        option(
            "Write targets to compare this service with OpenAI's Realtime API; an unknown name"
            " prints the list.",
            "--service",
            "NAME",
        ),
    ] = None,
    azure_load_testing: Annotated[
        bool,
        option(
            "Write a folder for Azure Load Testing, and nothing else: engines that execute one run"
            " together."
        ),
    ] = False,
    wheel: Annotated[
        Path | None,
        option(
            "Wheel of rtbench for the engines of --azure-load-testing, as `make dist` writes it.",
            "--wheel",
            "FILE",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        option(
            "Write scripts whose callers are recorded people, and nothing else: a CSV of labels, or"
            " Parquet files of eot-bench or TurnBench.",
            "--labels",
            "FILE",
        ),
    ] = None,
    extras: Annotated[
        str,
        option(
            "Add further scripts: barge-in (callers who interrupt), tools (functions that the"
            " service calls).",
            "--with",
            "NAMES",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Write a scenario, its script and audio, targets, thresholds and a CI workflow to begin with.

    Existing files are not changed. The new files run against the simulator without a change.
    """
    if wheel is not None and not azure_load_testing:
        raise UsageError(
            "--wheel is for the engines of --azure-load-testing: add it, or omit --wheel"
        )
    if labels is not None:
        if azure_load_testing or extras or service:
            raise UsageError("--labels writes its own folder: omit all other options but --agent")
        write_labelled(folder, labels, is_agent=agent)
        return
    if azure_load_testing:
        if agent or extras or service:
            raise UsageError(
                "--azure-load-testing writes its own folder: omit --agent, --service and --with"
            )
        _init_load_test(folder, wheel)
        return
    if agent and (extras or service):
        name, adds = (
            ("--with", "adds scripts for a service") if extras else ("--service", "names a service")
        )
        raise UsageError(f"{name} {adds}, but --agent writes calls to an agent: use one of them")
    further = extras_of(extras)
    files = agent_files(ci) if agent else starter_files(ci, further)
    if service is not None:
        files = {**files, **service_files(service)}
    _write_and_print(folder, files)
    enter = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    doctor = "doctor --targets twilio (or acs, pcm, sip)" if agent else "doctor --offline"
    if service is not None:
        doctor += " --targets simulator"  # the others need their keys
    readme = files[Path("README.md")].decode().splitlines()
    print(f"Next: {escape_control(enter)}rtbench {doctor}")
    print("Then (see README.md):")
    print(next(line for line in readme if line.startswith("rtbench run ")))
    wheels = escape_control(str(folder / "wheels"))
    print(
        f"The workflow installs a wheel from {wheels}, because rtbench is not published yet: `make"
        f" dist` in a checkout of rtbench writes the wheel to dist; copy it to {wheels} and"
        " commit it"
    )
    for name in further:
        command = f"rtbench run scenarios/{EXTRAS[name][0]} -u 4 --sessions 20 {simulated(service)}"
        print(f"{name}: {escape_control(enter)}{command}")


def _write_and_print(folder: Path, files: Files) -> None:
    """Write the files of a new folder, and print their paths."""
    for path, was_written in write_starter(folder, files).items():
        path_text = escape_control(str(folder / path))
        print(path_text if was_written else f"{path_text} exists, and was not changed")


def _init_load_test(folder: Path, wheel: Path | None) -> None:
    from rtbench.azure_load_testing.folder import load_test_files

    _write_and_print(folder, load_test_files(wheel))
    if wheel is None:
        print(
            "The engines need a wheel: `make dist` in a checkout of rtbench writes it to dist;"
            " repeat this command in"
        )
        print("an empty folder with --wheel FILE")
    readme = escape_control(str(folder / "README.md"))
    print(f"Next: replace the names in capital letters; the commands are in {readme}")


def extras_of(names: str) -> list[str]:
    """Return the names in a comma-separated list of further scripts. Raise UsageError for an
    unknown name.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        _refuse_unknown(name, EXTRAS, "--with has no script")
    return chosen


def _refuse_unknown(name: str, known: Collection[str], problem: str) -> None:
    """Raise UsageError with this problem if a name is unknown."""
    if name not in known:
        raise UsageError(
            f"{problem} {name!r}{did_you_mean(name, known)} (allowed: {', '.join(known)})"
        )


def starter_files(ci: CiSystem, extras: Iterable[str] = ()) -> Files:
    """Return the contents of the files of a new folder."""
    own = {
        Path(WORKFLOWS[ci]): _starter(f"{ci}.yml"),
        Path("scenarios/ci.yaml"): _starter("first_ci.yaml"),
    }
    paths = dict.fromkeys((*KEPT_PATHS, *(path for name in extras for path in EXTRAS[name])))
    return _copies("README.md", "targets.yaml", paths) | own


def service_files(name: str) -> Files:
    """Return the contents of the files that differ in a folder for a service. Raise UsageError for
    an unknown service.

    Its dialect has the same name, and is simulated.
    """
    from bench.services.registry import SERVICES
    from rtbench_simulator.ready import urls_at

    known = {service.name: service for service in SERVICES.values() if service.starter}
    _refuse_unknown(name, known, "--service has no service")
    service = known[name]
    values = {
        "title": service.title,
        "service": name,
        "simulator": simulated(name),
        "url": urls_at(f"127.0.0.1:{SIMULATOR_PORT}")[name],
        "variable": service.api_key_env,
        "page": f" ({service.key_page})" if service.key_page else "",
        "session": service.starter,
    }
    templates = {"targets.yaml": "service.yaml", "README.md": "service.md"}
    return {
        Path(path): Template(_starter(template).decode()).substitute(values).encode()
        for path, template in templates.items()
    }


def simulated(service: str | None) -> str:
    """Return the options that call the simulator, which plays a service without failures."""
    quiet = "--simulator --simulator-profile quiet"
    return quiet if service is None else f"{quiet} --dialect {service}"


def agent_files(ci: CiSystem) -> Files:
    """Return the contents of the files of a folder for calls with an agent.

    The workflow in it makes more calls than the workflow for a service, and the calls are shorter.
    """
    workflow = _starter(f"{ci}.yml").replace(b"scripts/voice_turns.yaml", b"scripts/agent.yaml")
    workflow = workflow.replace(FIRST_CALLS, AGENT_CALLS)
    own = {Path(WORKFLOWS[ci]): workflow, Path("scenarios/ci.yaml"): _starter("agent_ci.yaml")}
    return _copies("agent.md", "agent.yaml", AGENT_PATHS) | own


def _copies(readme: str, targets: str, scenarios: Iterable[str]) -> dict[Path, bytes]:
    """Return the contents of the files that every new folder has.

    They are the starter files, and copies of files from the tool's `scenarios` folder.
    """
    renamed = {"README.md": readme, ".gitignore": "gitignore", "targets.yaml": targets}
    return {Path(name): _starter(example) for name, example in renamed.items()} | {
        Path("scenarios", name): (EXAMPLES / name).read_bytes() for name in scenarios
    }


def _starter(name: str) -> bytes:
    return (EXAMPLES / "starter" / name).read_bytes()


def write_starter(folder: Path, files: Files) -> dict[Path, bool]:
    """Write the files of a new folder. Return whether each file was written. Existing files are not
    changed.

    Raise UsageError if the folder cannot be written.
    """
    try:
        return {path: _write_files(folder / path, content) for path, content in files.items()}
    except OSError as error:
        raise UsageError(
            f"{error.filename or folder} cannot be written: {error.strerror}"
        ) from error


def _write_files(path: Path, content: bytes) -> bool:
    """Write a file, and return whether it was written. It is not written if the path exists,
    even as a broken link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@with_service_options("targets", "target_file", "simulator")
def quickstart(
    service_options: ServiceOptions,
    yes: Annotated[bool, option("Do not ask before calling a deployment.")] = False,
    sessions: Annotated[
        int | None, option("Number of sessions with each target, instead of the default.", min=1)
    ] = None,
    runs_dir: Annotated[Path, option("Create run folders in this folder.", "FOLDER")] = Path(
        "runs"
    ),
) -> None:
    """Run the shipped scenarios for a short time (on a deployment: voice only) and print the
    metrics.

    Without targets and Azure's variables it starts the simulator in its own process, and all output
    contains SIMULATED. Before it calls a deployment, it prints the estimated cost and asks. Exit
    status: that of the run; 130 if it was interrupted.
    """
    from rtbench.cli.quickstart import quick_run

    raise typer.Exit(quick_run(service_options, yes=yes, runs=runs_dir, sessions=sessions))
