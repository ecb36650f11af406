"""CI examples, the GitHub Action and the template for Azure Pipelines: the tests run their shell
steps unchanged.

Only the durations of runs are shorter, and the tests use their own ports. The tests evaluate the
vendors' expressions as the services do, as far as these files use them. Steps of the vendors
(`uses:`, `task:`) are not run, because the software that they install is already present. A
simulator replaces the gateway, and programs that record their arguments replace `gh` and `curl`.
One example uses the installed commands `rtbench` and `locust`; in the other examples, fork servers
run these commands with their imports already done.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bench.base.errors import INVALID_STATUS
from bench.record import folder as files
from rtbench.cli.start import WORKFLOWS
from tests import forked
from tests.examples import some
from tests.simulator_process import QUICK, ROOT, Ready
from tests.system.end_to_end.locust_process import GUARD_S
from tools.peers.agents.ports import free_port

EXAMPLES = ROOT / "docs" / "ci"


SESSIONS = 8


COMMANDS = {"rtbench": "rtbench.cli.app", "locust": "locust"}


COMMAND = """#!{python} -SE
import sys

sys.path.insert(0, {root!r})
from tests import forked

sys.exit(forked.Popen([sys.executable, "-m", {module!r}, *sys.argv[1:]]).wait())
"""


@dataclass
class Workplace:
    """A repository with the example's files, and a shell to run steps."""

    folder: Path
    environment: dict[str, str]
    ports: dict[str, str]

    def run(self, step: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a step as both services do: with bash, which stops at the first error."""
        step = _with_ports(step, self.ports).replace(
            "rtbench simulate --profile quiet --port",
            "rtbench simulate --profile profile.yaml --port",
        )
        step = re.sub(
            r"--sessions \d+", f"--sessions {SESSIONS}", re.sub(r" -r \d+", f" -r {SESSIONS}", step)
        )
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )

    def run_all(self, steps: list[str]) -> list[str]:
        """Run every step; return the output of each."""
        output = []
        for step in steps:
            done = self.run(step)
            assert done.returncode in (
                0,
                self._judge_as_if_alone(),
            ), f"{step}\n{done.stdout}\n{done.stderr}"
            output.append(done.stdout + done.stderr)
        return output

    def _judge_as_if_alone(self) -> int:
        """Mark invalid runs as valid, because the tests share a slow machine.

        Return the exit status of an invalid run if a run was invalid, and 0 otherwise.
        """
        status = 0
        for run in (self.folder / "runs").glob("*"):
            document = files.read_document(run)
            if document["validity"]["status"] == "invalid":
                document["validity"]["status"], status = "valid", INVALID_STATUS
                files.write_document(run, document)
        return status


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of the commands that fork servers run. These servers continue from one
    test to the next.
    """
    folder = tmp_path_factory.mktemp("commands")
    for name, module in COMMANDS.items():
        (folder / name).write_text(
            COMMAND.format(python=sys.executable, root=str(ROOT), module=module)
        )
        (folder / name).chmod(0o755)
    for words in (
        ["locust"],
        ["rtbench.cli.app", "probe"],
        ["rtbench.cli.app", "simulate"],
        ["rtbench.cli.app", "doctor"],
    ):
        forked.run([sys.executable, "-m", *words, "--help"], capture_output=True, check=True)
    return f"{folder}:"


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    folder = tmp_path / "repository"
    shutil.copytree(EXAMPLES / "files", folder / "ci")
    (folder / "profile.yaml").write_text(QUICK)
    git = (
        ["init", "-q", "-b", "main", "."],
        ["init", "-q", "--bare", "../origin"],
        ["remote", "add", "origin", "../origin"],
        ["config", "push.autoSetupRemote", "true"],  # a checkout has an upstream branch
    )
    for arguments in git:
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    ports = {port: str(free_port()) for port in ("8765", "9001", "9002")}
    targets = folder / "ci" / "targets.yaml"
    for shipped, own in ports.items():
        targets.write_text(targets.read_text().replace(shipped, own))
    set_here = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LOCUST_SESSION_PAUSE": "0",
        "NO_COLOR": "1",
    }
    # numpy stands for a package that is already installed
    place = Workplace(folder, os.environ | set_here | {"RTBENCH": "numpy"}, ports)
    yield place
    for port in ports.values():  # end the simulators that the steps started in the background
        subprocess.run(["pkill", "-f", f"rtbench simulate.* --port {port}"], check=False)


# The examples.


@dataclass(frozen=True)
class Workflow:
    """The environment of an example, as far as it is plain text, and the shell steps of the
    example in order.
    """

    environment: dict[str, str]
    steps: list[str]


def workflow(path: Path) -> Workflow:
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    variables = document.get("env") or document.get("variables") or {}
    plain = {key: text for key, text in variables.items() if "$" not in text}
    return Workflow(plain, [text for step in _steps(document) if (text := _shell(step))])


def _steps(document: Any) -> Iterator[Any]:
    yield from document.get("steps") or []
    for job in (document.get("jobs") or {}).values():
        yield from job["steps"]


def _shell(step: Any) -> str:
    return str(
        step.get("run")
        or step.get("script")
        or (step.get("inputs") or {}).get("inlineScript")
        or ""
    )


def primary(place: Workplace, name: str) -> list[str]:
    example = workflow(EXAMPLES / name)
    place.environment |= {
        key: text if key == "RTBENCH" else _with_ports(text, place.ports)
        for key, text in example.environment.items()
    }
    start = "rtbench simulate --profile profile.yaml --port"
    place.environment |= {
        "RTBENCH": "numpy",
        "START_BEFORE": f"{start} {place.ports['9001']}",
        "START_AFTER": f"{start} {place.ports['9002']}",
    }
    return example.steps


def _with_ports(text: str, ports: dict[str, str]) -> str:
    for shipped, own in ports.items():
        text = text.replace(shipped, own)
    return text


def test_the_pull_request_workflow_of_github_runs(workplace: Workplace, forking: str) -> None:
    summary = workplace.folder / "summary.md"
    workplace.environment["PATH"] = forking + workplace.environment["PATH"]
    workplace.environment |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}

    output = workplace.run_all(primary(workplace, "github-pull-request.yml"))

    assert "::warning" in output[-1], "so few turns cannot carry a p90"
    assert "SIMULATED" in summary.read_text()
    assert (workplace.folder / "rtbench.xml").exists()


def test_the_nightly_workflow_checks_a_run_and_stores_a_baseline(
    workplace: Workplace, simulator: Ready
) -> None:
    """The test uses the installed commands."""
    workplace.environment |= {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{simulator.port}",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt-realtime",
        "AZURE_OPENAI_API_KEY": "any",
    }

    workplace.run_all(workflow(EXAMPLES / "github-nightly.yml").steps)

    pushed = subprocess.run(
        ["git", "--git-dir", "../origin", "ls-tree", "-r", "--name-only", "main"],
        cwd=workplace.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len([path for path in pushed.stdout.split() if path.startswith("baselines/")]) == 1


@pytest.mark.parametrize("command", some(["rtbench init", "rtbench init --service gemini"], 1))
def test_the_workflow_written_by_init_runs_against_the_simulator(
    workplace: Workplace, forking: str, command: str
) -> None:
    workplace.environment["PATH"] = forking + workplace.environment["PATH"]
    assert workplace.run(command).returncode == 0
    written = workflow(workplace.folder / WORKFLOWS["github"])
    targets = workplace.folder / "targets.yaml"
    targets.write_text(_with_ports(targets.read_text(), workplace.ports))
    script = workplace.folder / "scenarios" / "scripts" / "voice_turns.yaml"
    # keep one of four turns
    script.write_text(script.read_text().partition("  - audio: ../audio/late_parcel.wav")[0])
    workplace.environment |= {"TARGET": written.environment["TARGET"], "GITHUB_ACTIONS": "true"}

    output = workplace.run_all(written.steps)

    assert "::warning" in output[-1] or "::error" in output[-1], (
        "so few calls decide nothing, or are disturbed"
    )
    assert (workplace.folder / "rtbench.xml").exists()


# The action, and the template.

ACTION = YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8"))
TEMPLATE = YAML(typ="safe").load(
    (ROOT / "docs" / "ci" / "azure-steps.yml").read_text(encoding="utf-8")
)
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
NOTED = """#!{python} -SE
import json, pathlib, sys

with pathlib.Path({notes!r}).open("a") as notes:
    notes.write(json.dumps(sys.argv) + "\\n")
if "--paginate" in sys.argv:
    print({answer!r})
elif {error!r}:
    print({error!r}, file=sys.stderr)
    sys.exit(1)
"""
LOAD = "-u 4 -r 4 --sessions 24"
PUBLISHED = "/folder of the action"


@dataclass
class StepOutputs:
    """The output of each step by the step's name, and the exit status of the first failed step
    (0 if none failed).
    """

    status: int = 0
    steps: dict[str, str] = field(default_factory=dict)


def recording_stub(place: Workplace, program: str, *, answer: str = "", error: str = "") -> Path:
    """Put a program on the path that records its arguments in a file; return the path of that file.

    If it has an `error`, it fails with it.
    """
    folder, notes = place.folder.parent / "programs", place.folder.parent / f"{program}.notes"
    folder.mkdir(exist_ok=True)
    text = NOTED.format(python=sys.executable, notes=str(notes), answer=answer, error=error)
    (folder / program).write_text(text)
    (folder / program).chmod(0o755)
    if str(folder) not in place.environment["PATH"]:
        place.environment["PATH"] = f"{folder}:{place.environment['PATH']}"
    return notes


def recorded_calls(notes: Path) -> list[list[str]]:
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def put_in(text: str, context: Mapping[str, str]) -> str:
    return EXPRESSION.sub(lambda found: context[found[1]], str(text))


def holds(condition: str, context: Mapping[str, str], *, failed: bool) -> bool:
    """Return whether a step of the action runs.

    If the condition does not contain `always()`, the step runs only if no earlier step has failed.
    """
    terms = [term for term in condition.split(" && ") if term and term != "always()"]
    compared = (re.fullmatch(r"(\S+) (==|!=) '(.*)'", term) for term in terms)
    right = all(
        found and (context.get(found[1], "") == found[3]) == (found[2] == "==")
        for found in compared
    )
    return right and (not failed or "always()" in condition)


def act(place: Workplace, **inputs: str) -> StepOutputs:
    """Run the shell steps of the action as GitHub runs them with these inputs."""
    unknown = inputs.keys() - {name.replace("-", "_") for name in ACTION["inputs"]}
    assert not unknown
    given = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    context = {f"inputs.{name}": value for name, value in given.items()}
    context |= {"github.event_name": "pull_request", "github.event.pull_request.number": "7"}
    temp, printed = place.folder.parent / "temp", StepOutputs()
    temp.mkdir(exist_ok=True)
    github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "o/r",
        "RUNNER_TEMP": str(temp),
        "GITHUB_ACTION_PATH": PUBLISHED,
    }
    for number, step in enumerate(ACTION["runs"]["steps"]):
        if "run" not in step or not holds(step.get("if", ""), context, failed=bool(printed.status)):
            continue
        assert step["shell"] == "bash"
        output = temp / f"output-{number}"
        output.touch()
        own = {name: put_in(text, context) for name, text in step.get("env", {}).items()}
        done = place.run(step["run"], **github, GITHUB_OUTPUT=str(output), **own)
        printed.steps[step["name"]] = done.stdout + done.stderr
        printed.status = printed.status or done.returncode
        outputs = (line.partition("=") for line in output.read_text().splitlines())
        context |= {f"steps.{step.get('id')}.outputs.{name}": value for name, _, value in outputs}
    return printed


@pytest.fixture
def ready(workplace: Workplace, forking: str) -> Workplace:
    """Return a repository with a call, the simulator as its target, and thresholds that pass or
    fail.
    """
    workplace.environment["PATH"] = forking + workplace.environment["PATH"]
    address = f"ws://127.0.0.1:{workplace.ports['8765']}/openai/v1/realtime?model=gpt-realtime"
    (workplace.folder / "targets.yaml").write_text(f"targets: {{simulator: {{url: '{address}'}}}}")
    (workplace.folder / "kept.yaml").write_text("ttfa: p(50)<60s")
    (workplace.folder / "broken.yaml").write_text("ttfa: p(50)<1ms")
    return workplace


COMMENT_ERRORS = {
    "gh: Validation Failed (HTTP 422)\nbody is too long (maximum is 65536 characters)": "",
    "error connecting to api.example: 100% lost": "",
    "gh: Resource not accessible by integration (HTTP 403)": (
        "; the token needs `pull-requests: write`, which the token of a fork does not have"
    ),
}
"""What gh prints if it cannot write a comment, and the remedy that the warning adds."""
USED = {"scenario": "ci/call.yaml", "options": LOAD, "targets": "simulator", "simulator": "true"}


def test_the_action_runs_checks_comments_and_fails_by_the_verdict(ready: Workplace) -> None:
    gh, python = recording_stub(ready, "gh"), recording_stub(ready, "python")
    output = act(ready, thresholds="broken.yaml", on_inconclusive="warn", **USED)

    assert [*output.steps] == [
        "Install",
        "Start the simulator",
        "Measure",
        "Check",
        "Comment",
        "Verdict",
    ], output.steps
    # the run is invalid if the machine of the tests is too busy
    assert output.status in (1, INVALID_STATUS), output.steps
    assert [call[-1] for call in recorded_calls(python)] == [
        f"{PUBLISHED}/requirements-calls.lock",
        PUBLISHED,
    ]
    polled, posted = recorded_calls(gh)
    assert "repos/o/r/issues/7/comments" in polled
    assert posted[2:5] == ["--method", "POST", "repos/o/r/issues/7/comments"]
    kept = ready.folder.parent / "temp" / "latency"
    assert posted[-1] == f"body=@{kept}/comment.md"
    assert (kept / "comment.md").read_text().startswith("<!-- rtbench: latency -->\n")
    assert (kept / "rtbench.xml").exists()
    (run,) = (kept / "runs").iterdir()
    assert (run / "report.html").exists()

    comment = next(step["run"] for step in ACTION["runs"]["steps"] if step.get("name") == "Comment")
    own = {
        "NUMBER": "7",
        "ARTIFACT": "latency",
        "FOLDER": str(kept),
        "RUN": str(run),
        "GITHUB_REPOSITORY": "o/r",
    }
    recording_stub(ready, "gh", answer="4711")
    assert ready.run(comment, **own).returncode == 0, "a later run writes the same comment again"
    assert recorded_calls(gh)[-1][2:5] == ["--method", "PATCH", "repos/o/r/issues/comments/4711"]
    for error, remedy in COMMENT_ERRORS.items():
        recording_stub(ready, "gh", error=error)
        refused = ready.run(comment, **own)
        assert refused.returncode == 0
        warning = " ".join(error.split()).replace("%", ".")
        assert (
            refused.stdout == f"::warning::The comment was not written: {warning}{remedy}" + " \n"
        )


def test_no_input_is_interpolated_into_a_shell_command() -> None:
    """Input from other people (a name, an option) reaches the shell as a variable's value, not
    as part of a command.
    """
    lines = [step["run"] for step in ACTION["runs"]["steps"] if "run" in step]
    lines += [text for step in steps_of_template({}) if (text := script_of(step))]

    assert len(lines) >= 10
    assert not [line for line in lines if "${{" in line]


def steps_of_template(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps that Azure Pipelines makes of the template. Conditions are evaluated,
    parameters inserted.
    """
    defaults = {
        parameter["name"]: parameter.get("default", "") for parameter in TEMPLATE["parameters"]
    }
    assert not given.keys() - defaults.keys()
    parameters = {f"parameters.{name}": value for name, value in (defaults | dict(given)).items()}
    for step in TEMPLATE["steps"]:
        (key, inner), *_ = step.items()
        chosen = EXPRESSION.fullmatch(key)
        if chosen is None:
            yield _filled(step, parameters)
        elif _is_chosen(chosen[1], parameters):
            yield from (_filled(one, parameters) for one in inner)


def _is_chosen(condition: str, parameters: Mapping[str, Any]) -> bool:
    found = re.fullmatch(r"if (eq|ne)\((parameters\.\w+), (true|'')\)", condition)
    assert found, condition
    return (parameters[found[2]] == (True if found[3] == "true" else "")) == (found[1] == "eq")


def _filled(step: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: str(value) for name, value in parameters.items()}
    return {
        key: _filled(value, parameters) if isinstance(value, dict) else put_in(value, texts)
        for key, value in step.items()
    }


def script_of(step: dict[str, Any]) -> str:
    return str(step.get("script") or step.get("inputs", {}).get("inlineScript") or "")


def test_the_azure_template_runs_checks_and_comments(ready: Workplace) -> None:
    curl = recording_stub(ready, "curl")
    temp = ready.folder.parent / "temp"
    temp.mkdir()
    ready.environment |= {
        "TF_BUILD": "True",
        "AGENT_TEMPDIRECTORY": str(temp),
        "SYSTEM_COLLECTIONURI": "https://dev.example/o/",
        "SYSTEM_TEAMPROJECTID": "p",
        "BUILD_REPOSITORY_ID": "r",
        "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
    }
    given = {
        "install": "numpy",
        "scenario": "ci/call.yaml",
        "options": LOAD,
        "targets": "simulator",
        "simulator": True,
        "thresholds": "kept.yaml",
        "onInconclusive": "warn",
    }
    output = []
    for step in steps_of_template(given):
        if script := script_of(step):
            done = ready.run(script, **step.get("env", {}))
            assert done.returncode in (0, INVALID_STATUS), (script, done.stdout, done.stderr)
            output.append(done.stdout + done.stderr)

    assert len(output) == 5
    assert "##vso[task." in output[3]
    (posted,) = recorded_calls(curl)
    assert posted[-1].startswith(
        "https://dev.example/o/p/_apis/git/repositories/r/pullRequests/7/threads?"
    )
    (comment,) = json.loads((temp / "comment.json").read_text())["comments"]
    assert "SIMULATED" in comment["content"]
    assert (temp / "latency" / "rtbench.xml").exists()

    (step,) = [step for step in steps_of_template(given) if step.get("displayName") == "Comment"]
    for error, remedy in {
        "curl: (22) error: 403": "; the build service needs",
        "curl: (28) Timeout": "",
    }.items():
        recording_stub(ready, "curl", error=error)
        refused = ready.run(script_of(step), **step["env"])
        assert refused.returncode == 0
        assert f"type=warning]The comment was not written: {error}{remedy or ' '}" in refused.stdout
