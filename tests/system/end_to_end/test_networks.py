"""Runs over routes other than the direct one (proxies and chosen addresses), and signals at any
moment of a wait.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.record import folder as files
from rtbench.locust_run import without_proxies
from tests import forked
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import GUARD_S, only_run, run_locust, write_scenario
from tests.system.end_to_end.proxies import RunningProxy, running_proxy
from tests.system.end_to_end.quoting_service import files_with
from tests.system.end_to_end.two_targets import write_targets

PASSWORD = "a-password-that-nobody-may-see"
NAME = "simulator.test"
"""A host name that our resolver does not know, and that the simulator's certificate contains."""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("tls"), "--tls") as ready:
        yield ready


def proxy_for(user: str | None) -> Any:
    return running_proxy(user, PASSWORD if user else None, names={NAME: "127.0.0.1"})


# Probes.


def test_an_interrupted_probe_prints_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-W", "error", "-m", "rtbench.cli.app", "probe"]
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/openai/v1/realtime?model=x"
        with forked.Popen(
            [*command, "--url", url],
            env=without_proxies(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            listening.settimeout(GUARD_S)
            with listening.accept()[0] as connection:
                # the probe has sent its request, and now waits for the response
                assert connection.recv(1)
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=GUARD_S)

    assert (process.returncode, output, errors) == (130, "", "")


def test_a_signal_just_before_a_poll_wakes_the_event_loop() -> None:
    waiting = f"""
import functools, os, signal
from bench.transport.gevent_patch import patch
patch()
import gevent.event
loop = gevent.get_hub().loop
last = loop.prepare(ref=False)
last.priority = loop.MINPRI
gevent.spawn_later(0.01, last.start, functools.partial(os.kill, os.getpid(), signal.SIGINT))
try:
    gevent.event.Event().wait({GUARD_S})
except KeyboardInterrupt:
    last.stop()
"""
    ended = forked.run(
        [sys.executable, "-W", "error", "-c", waiting],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# Runs.


def run_through(
    tmp_path: Path, proxies: Sequence[RunningProxy], options: list[str], **more: str
) -> Path:
    """Run four sessions over each proxy, and check that all succeed; return the run folder."""
    ended = run_locust(
        write_scenario(tmp_path),
        tmp_path / "runs",
        "-u",
        "2",
        "-r",
        "2",
        "--sessions",
        "4",
        *options,
        **without_proxies(os.environ) | more,
    )
    folder = only_run(tmp_path / "runs")
    assert files.read_document(folder)["totals"]["sessions"] == {"ok": 4 * len(proxies)}, (
        ended.stderr
    )
    for proxy in proxies:
        assert proxy.connections == len(proxy.asked) == 4
    assert files_with(folder, PASSWORD) == []
    assert PASSWORD not in ended.stdout + ended.stderr
    return folder


def test_each_target_of_a_run_uses_its_own_proxy(simulator: Ready, tmp_path: Path) -> None:
    ways = {"http": ("http", None), "socks": ("socks5", None), "socks_ann": ("socks5", "ann")}
    with ExitStack() as stack:
        proxies = {name: stack.enter_context(proxy_for(user)) for name, (_, user) in ways.items()}
        urls = {name: proxies[name].url(scheme) for name, (scheme, _) in ways.items()}
        targets_text = "".join(
            f"  {name}: {{url: '{simulator.urls['ga']}', proxy: '{url}'}}\n"
            for name, url in urls.items()
        )
        options = [
            "--targets",
            ",".join(ways),
            "--target-file",
            write_targets(tmp_path, targets_text),
        ]
        folder = run_through(
            tmp_path, [*proxies.values()], [*options, "--ca-file", str(simulator.ca)]
        )

    turns, targets = (
        files.read_table(folder, "turns").to_pandas(),
        files.read_document(folder)["targets"],
    )
    assert len(turns) == 8 * len(ways)
    # the round-trip time ends at the proxy
    assert set(turns["rtt_scope"][turns["network_rtt_ns"].notna()]) <= {"proxy"}
    true = [f"{scheme}://127.0.0.1:{proxies[name].port}" for name, (scheme, _) in ways.items()]
    assert [target["proxy"] for target in targets] == true
