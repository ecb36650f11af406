"""A reader of the pages, who runs their commands unchanged, for one second each, in a folder of its
own.

If a page assumes a deployment, the simulator replaces the deployment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection
from itertools import groupby
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from reports.data import runs
from reports.pages.run_report.document import write_report
from tests import forked
from tests.docs.commands import PAGES, ROOT, Command, commands
from tests.reports import synthetic
from tests.reports.synthetic import Plan
from tests.simulator_process import Ready, running_simulator
from tests.system.end_to_end.locust_process import GUARD_S
from tools.peers.agents.ports import free_port

CAPACITY = "rtbench capacity scenarios/voice_turns.py --thresholds voice_to_voice: p(95)<2000"
NOT_HERE = {
    "make": "`.ci/run` makes what stands in the README",
    "python3 -m venv": "installs; tests/release",
    "pip": "installs; tests/release",
    "uv": "installs; tests/release",
    "docker": "needs a daemon; tests/system/test_deploy.py reads the files",
    "export VERSION": "asks docker",
    "until [ -n $(kubectl": "needs a cluster",
    "kubectl": "needs a cluster; tests/system/test_deploy.py reads the files",
    "rtbench runs mark": "needs a run in progress; tests/system/end_to_end/test_events.py",
    "rtbench run callee.yaml": "needs an agent that dials; end_to_end/test_agents_that_dial.py",
    "rtbench calibrate": "takes minutes; tests/system/end_to_end/test_calibrate.py",
    f"{CAPACITY} --thresholds": "takes minutes; tests/system/end_to_end/test_capacity.py",
    f"{CAPACITY} --require 300": "takes minutes; tests/system/end_to_end/test_capacity.py",
    "rtbench runs import": "needs recordings; tests/recorded_calls/test_command.py imports them",
    "rtbench init corpus --labels": "needs recordings; tests/corpus",
    "rtbench sweep corpus/": "needs the scripts of these recordings; end_to_end/test_sweep.py",
    "rtbench run recorded/": "needs the scripts of an import",
    "rtbench compare runs/*-recorded": (
        "needs the run of an import; tests/recorded_calls/test_command.py"
    ),
    "rtbench probe --raw": "needs the server of the page; tests/services/test_pages.py",
    "rtbench doctor --protocol": "needs the server of the page; tests/services/test_pages.py",
    "rtbench run scenarios/scripts/agent.yaml --protocol": "needs the server of the page; tests/services/test_pages.py",
    "rtbench runs merge": "needs the runs of several machines; tests/system/end_to_end/test_merge.py",
    "rtbench runs upload": "needs a container; tests/system/end_to_end/test_upload.py",
    "rtbench run scenarios/voice_turns.py -u 20 -t 10m --part-of": (
        "needs parts; end_to_end/test_engines.py"
    ),
    "rtbench init engines": "needs a wheel; tests/system/end_to_end/test_engines.py",
    "locust -f scenarios/voice_turns.py --master": (
        "needs several machines; tests/system/end_to_end/test_hosts.py"
    ),
    "locust -f scenarios/voice_turns.py --worker": (
        "needs several machines; tests/system/end_to_end/test_hosts.py"
    ),
}
"""The beginnings of commands that do not run here, and the reasons."""
JUDGED = (0, 1, 3, 4)
STATUSES = {"locust": (0, 4), "doctor": (0, 1), "compare": (0, 4)} | dict.fromkeys(
    ("run", "check", "capacity", "overload", "quickstart", "sweep"), JUDGED
)
"""The exit statuses of successful commands, if not only 0."""
SHORTER = {
    "quickstart": ("--sessions", "2", "--yes"),
    "sweep": ("--sessions", "2"),
    "capacity": ("--max-time", "45s", "--to", "4"),
    "overload": (
        *("--load", "2", "--peak", "4", "--probes", "2"),
        *("--before", "4s", "--peak-time", "2s", "--after", "4s"),
    ),
}
"""Options that make a command short. The last value of an option counts."""
TARGETS = ("simulator", "socket", "eastus2", "sweden", "east", "west", "old", "new", "realtime")
GPT_LIVE = ("live", "live_backend")
AGENTS = ("v1", "v2")
STORED = {
    **dict.fromkeys(("A", "B", "C"), ("gateway",)),
    "RUN": ("west", "east"),
    "runs/NAME": ("sweden",),
    "runs/20261120T161510Z-voice_turns": ("sweden",),
    "runs/nightly-7": ("east",),
    "nights/1/runs/20261119T091400Z-voice_turns": ("sweden",),
}
"""The runs that pages name, and their targets."""
FIRST, ABOUT_AGENTS = {"README.md", "getting-started.md"}, {"agents.md", "other-services.md"}
"""The pages whose blocks run in test files of their own: each of the three files takes about a
minute."""
STORED_NAMES = {Path(name).name for name in STORED}
WRITTEN = re.compile(
    r"`(mine[\w-]*\.\w+)`[^\n]*\n\n```\w+\n(.*?)^```|^```yaml\n# (stages\.yaml)\n(.*?)^```",
    re.S | re.M,
)
"""The files that pages instruct the reader to write."""
LOG = ROOT / "tests/reports/stored/events/w0-000000.jsonl"


Check = Callable[[str, CompletedProcess[str], list[Path]], object]
"""A check of a command that has ended, which gets its name, its end, and the folders of its runs."""


def runs_here(command: Command) -> bool:
    return not any(" ".join(command.words).startswith(begin) for begin in NOT_HERE)


def parts(block: list[tuple[str, ...]]) -> list[list[tuple[str, ...]]]:
    """Split the runs at the end of a block, so that each run is tested separately.

    Each of these runs depends only on the commands before the first run.
    """
    begin = next((place for place, words in enumerate(block) if words[0] == "locust"), len(block))
    alone = all(words[0] == "locust" for words in block[begin:])
    return [[*block[:begin], run] for run in block[begin:]] if alone and block[begin:] else [block]


def blocks(pages: Collection[str]) -> list[Any]:
    """Return the parameters of the blocks of commands on the pages. A run at the end of a block
    is a block.
    """
    found = groupby(filter(runs_here, commands()), key=lambda one: (one.page, one.block))
    return [
        pytest.param(part, id=f"{page} {number}" + (f" run {place}" if place else ""))
        for (page, number), block in found
        if page in pages
        for place, part in enumerate(parts([one.words for one in block]))
    ]


def store_runs(parent: Path) -> None:
    """Write the stored runs and a baseline."""
    for name, targets in STORED.items():
        plan = Plan(sessions=20 * len(targets), targets=targets, paired=len(targets) > 1)
        folder = synthetic.write(parent / name, plan, run_id=f"20261120T091400Z-{Path(name).name}")
        write_report(runs.load_for_report(folder))
    run(
        "rtbench",
        ["baseline", "save", "A", "--baselines-dir", "baselines"],
        dict(os.environ),
        parent,
    )


def new_place(place: Path, stored: Path, simulator: Ready) -> Path:
    """Return a new folder with the stored runs, the repository's files, and the files that the
    pages instruct the reader to write.
    """
    shutil.copytree(stored, place)
    for name in ("scenarios", "docs"):
        (place / name).symlink_to(ROOT / name)
    for page in PAGES:
        for found in WRITTEN.findall(page.read_text(encoding="utf-8")):
            name, text = filter(None, found)
            text = re.sub(r"duration: \d+[sm]", "duration: 1s", text)
            (place / name).write_text(text, encoding="utf-8")
    targets = {name: {"url": simulator.urls["ga"]} for name in TARGETS}
    agents = {name: {"service": "twilio", "url": simulator.urls["agent_twilio"]} for name in AGENTS}
    live = {
        name: {
            "url": simulator.urls["gpt_live"],
            "session": {"turn_detection": "full_duplex"},
        }
        for name in GPT_LIVE
    }
    rtc = {"rtc": {"url": simulator.urls["ga"], "transport": "webrtc"}}
    (place / "targets.yaml").write_text(json.dumps({"targets": targets | rtc | agents | live}))
    (place / "events").mkdir()
    shutil.copy(LOG, place / "events" / "w0-000017.jsonl")
    return place


def run_block(
    lines: list[tuple[str, ...]],
    place: Path,
    simulator: Ready,
    check: Check = lambda *_: None,
) -> None:
    """Run the commands of a block in a folder, and check the end of each."""
    env = os.environ | {"NO_COLOR": "1", "BROWSER": "true"} | deployment(simulator)
    for words in lines:
        match [here(word, env, simulator, place) for word in words]:
            case ["export", *settings]:
                env |= dict(setting.split("=", 1) for setting in settings) | deployment(simulator)
            case [("." | "cd" | "kill" | "unset"), *_]:
                pass
            case [program, *arguments]:
                wanted = [
                    found
                    for word in arguments
                    for found in (globbed(word, place) if "*" in word else [word])
                ]
                run(Path(program).name, wanted, env, place, check)


def deployment(simulator: Ready) -> dict[str, str]:
    """Return settings that make the simulator the deployment of a page."""
    return {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{simulator.port}",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt-realtime",
        "AZURE_OPENAI_API_KEY": "any",
        "OPENAI_API_KEY": "any",
        "MY_KEY": "any",
        "KEY": "any",
    }


def here(word: str, env: dict[str, str], simulator: Ready, place: Path) -> str:
    """Return a word of a command, in which a placeholder is replaced.

    The replacement is the simulator's address, the value of a variable, or the name of the newest
    run.
    """
    if word.startswith("$"):
        return env[word[1:]]
    played = [run for run in (place / "runs").glob("*Z-*") if run.name not in STORED_NAMES]
    if word == "runs/NAME" and played:
        return f"runs/{max(run.name for run in played)}"
    if "intent=transcription" in word:
        return simulator.urls["transcription"]
    word = word.replace("http://127.0.0.1:8765/agent/webrtc", simulator.urls["agent_webrtc"])
    return re.sub(r"wss?://(?:…|HOST|127\.0\.0\.1:8765)\S*", simulator.urls["ga"], word)


def globbed(word: str, place: Path) -> list[str]:
    """Return the files that a shell would expand a word to."""
    return [str(path.relative_to(place)) for path in sorted(place.glob(word))]


def run(
    program: str,
    arguments: list[str],
    env: dict[str, str],
    place: Path,
    check: Check = lambda *_: None,
) -> None:
    """Run a command to its end and check its exit status. If a command has no end, interrupt it
    when it is ready.
    """
    module = "locust" if program == "locust" else "rtbench.cli.app"
    command = "locust" if program == "locust" else arguments[0]
    plays = command in ("locust", "run")
    if command == "simulate":
        serves(arguments, env, place)
        return
    before = {*place.glob("**/run.json")}
    words = shortened(arguments) if plays else [*arguments, *SHORTER.get(arguments[0], ())]
    ended = forked.run(
        [sys.executable, "-m", module, *words],
        cwd=place,
        env=env,
        text=True,
        capture_output=True,
        timeout=GUARD_S,
    )
    printed = ended.stdout + ended.stderr
    assert ended.returncode in STATUSES.get(command, (0,)), (arguments, printed)
    assert "Traceback" not in printed
    check(command, ended, [path.parent for path in {*place.glob("**/run.json")} - before])


def shortened(arguments: list[str]) -> list[str]:
    """Return the arguments of a run, changed so that the run takes one second.

    With several processes it ends after its sessions: on a busy machine, a second passes before
    they have started. The first call of an arrival rate comes after a second. Minutes of events become
    tenths of seconds. The last value of a repeated option counts.
    """
    arguments = [re.sub(r"^(\w+@)(\d)m\b", r"\g<1>0.\2s", word) for word in arguments]
    few = str(max(2, os.cpu_count() or 1))  # `--processes -1` needs at least one per core
    users = [] if {"--arrival-rate", "--stages"} & {*arguments} else ["-u", few]
    by_command = arguments[0] == "run"
    has_processes = "--processes" in arguments
    quick = (
        ["-f", "scenarios/text_turns.py"]
        if (has_processes or "--stages" in arguments) and not by_command
        else []
    )
    if has_processes and by_command:
        arguments = [word.replace("voice_turns", "text_turns") for word in arguments]
    ends = (
        []
        if "--stages" in arguments
        else ["-t", "1m", "--sessions", few]
        if has_processes
        else ["--arrival-rate", "10/s", "--max-concurrent", few, "-t", "2s"]
        if "--arrival-rate" in arguments
        else ["-t", "1s"]
    )
    alone = [] if by_command or "--headless" in arguments else ["--autostart", "--autoquit", "0"]
    port, web = str(free_port()), str(free_port())
    ports = ["--master-bind-port", port, "--master-port", port, "--web-port", web]
    return [
        *arguments,
        *users,
        *ends,
        *alone,
        *quick,
        *ports,
        "-r",
        "2",
        "--session-pause",
        "0.1",
        "--yes",
    ]


def serves(arguments: list[str], env: dict[str, str], place: Path) -> None:
    """Start a simulator as on the page, and end it as its reader does."""
    with running_simulator(*arguments[1:], env=env, cwd=place) as ready:
        assert ready.port
    assert ready.returncode == 0, ready.output
