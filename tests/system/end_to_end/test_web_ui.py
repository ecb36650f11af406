"""The web UI of a real process: which settings its visitors can change, and which settings they
cannot change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.load.runners.web_ui import NO_CONTROLS, OF_REPORT, SHOWN_TARGETS, TABS
from bench.record import folder as files
from tests import forked
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import GUARD_S, only_run, write_scenario
from tools.peers.agents.ports import free_port

NEVER_FROM_THE_FORM = {
    "url": "ws://127.0.0.1:9/v1/realtime",
    "api_key_env": "A_SECRET_OF_THE_MACHINE",
    "target_file": "/tmp/other.yaml",
    "runs_dir": "/tmp/elsewhere",
    "proxy": "http://127.0.0.1:9",
    "budget": "1000000",
    "record_audio": "true",
    "host": "http://127.0.0.1:9",
    "html_file": "/tmp/page.html",
    "processes": "9",
}
"""One option of each kind that the form refuses. The form accepts only options of an allow list."""
RATES = ("eventsin", "eventsout", "bytesin", "bytesout")


@dataclass
class WebUi:
    """A Locust process with a web UI on loopback."""

    process: subprocess.Popen[str]
    port: int
    said: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        """Send a request; return (status, body)."""
        form = {"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=GUARD_S)) as connection:
            connection.request(method, path, body, form | headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def swarm(self, **form: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ask("POST", "/swarm", urlencode(form))[1])
        return document

    @property
    def state(self) -> str:
        return str(json.loads(self.ask("GET", "/stats/requests")[1])["state"])

    def end(self) -> str:
        """End the process; return its output."""
        self.process.terminate()
        return self.process.communicate(timeout=GUARD_S)[0]


@contextmanager
def web_ui(folder: Path, *options: str, **environment: str) -> Iterator[WebUi]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(write_scenario(folder)),
        "--web-port",
        str(port),
    ]
    process = forked.Popen(
        [*command, "--runs-dir", str(folder / "runs"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )
    served = WebUi(process, port)
    try:
        _wait_until_it_listens(served)
        yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _wait_until_it_listens(served: WebUi) -> None:
    until = time.monotonic() + GUARD_S
    while True:
        try:
            served.ask("GET", "/")
            return
        except OSError:
            assert served.process.poll() is None, served.process.communicate()[0]
            assert time.monotonic() < until, "the web UI does not listen"
            time.sleep(0.05)


def test_a_visitor_of_the_web_ui_can_change_only_the_load(tmp_path: Path, simulator: Ready) -> None:
    load = {"user_count": "1", "spawn_rate": "1"}
    with web_ui(tmp_path, "--url", simulator.urls["ga"]) as served:
        for name, value in NEVER_FROM_THE_FORM.items():
            reply = served.swarm(**load, **{name: value})
            assert (reply["success"], served.state) == (False, "ready"), name
            assert name.replace("_", "-") in reply["message"]
            assert "command line" in reply["message"], name

        reply = served.swarm(**load, sessions="-4")
        assert (reply["success"], served.state) == (False, "ready")
        assert reply["message"].startswith(
            "--sessions must be a whole number from 1 to 1,000,000,000, not -4"
        )

        status, output = served.ask(
            "POST", "/user", json.dumps({"user_class_name": "Caller", "variables": "/etc/passwd"})
        )
        assert (status, "locustfile" in output) == (403, True)

        # Requests from a page of another site in the same browser, and from a foreign host name
        # that points at loopback.
        for path in ("/swarm", "/stop", "/user", "/stats/reset"):
            for origin in ("https://example.org", "http://[::1", "null"):
                assert served.ask("POST", path, urlencode(load), Origin=origin)[0] == 403, (
                    path,
                    origin,
                )
            assert served.state == "ready", path
        assert served.ask("GET", "/logs", Host="example.org:8089")[0] == 403

        _, page = served.ask("GET", "/")
        assert "session_pause" in page
        assert not [name for name in NEVER_FROM_THE_FORM if f'"{name}"' in page and name != "host"]


def test_a_run_started_in_the_form_uses_the_target_of_the_command_line(
    tmp_path: Path, simulator: Ready
) -> None:
    """The test sends the form as Locust's page sends it: the fixed fields are present with their
    old values.
    """
    with web_ui(tmp_path, "--url", simulator.urls["ga"]) as ui:
        _, page = ui.ask("GET", "/")
        shown = f"{simulator.urls['ga']} (SIMULATED)"
        assert f'"host": "{shown}"' in page, (
            "the target is known to be a simulator before the first call"
        )
        assert SHOWN_TARGETS in page
        assert '"missing_host_warning": false' in page
        assert ui.swarm(user_count="1", spawn_rate="1", seed="5", warmup="soon")["success"] is False
        reply = ui.swarm(
            user_count="1",
            spawn_rate="1",
            run_time="",
            host=shown,
            profile="",
            sessions="1",
            session_pause="0",
            until_decided="false",
        )
        assert reply["success"] is True, reply
        assert reply["host"] == shown
        until(lambda: ui.state == "stopped", ui)
        assert f'"host": "{simulator.urls["ga"]} (SIMULATED)"' in ui.ask("GET", "/")[1]
        output = ui.end()
    document = files.read_document(only_run(tmp_path / "runs"))

    assert document["totals"]["sessions"] == {"ok": 1}, output
    assert document["settings"]["seed"] == "1"
    assert "without a login" not in output


def test_a_web_ui_on_all_interfaces_prints_a_warning(tmp_path: Path, simulator: Ready) -> None:
    with web_ui(tmp_path, "--url", simulator.urls["ga"], "--web-host", "0.0.0.0") as ui:
        output = ui.end()

    (line,) = [line for line in output.splitlines() if "without a login" in line]
    assert f"0.0.0.0:{ui.port}" in line
    assert "--web-login" in line


def tables(ui: WebUi) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of our tabs, as the page receives them."""
    reply = json.loads(ui.ask("GET", "/stats/requests")[1])
    return {table["key"]: table["data"] for table in reply["extended_stats"]}


def until(happened: Callable[[], bool], ui: WebUi) -> None:
    guard = time.monotonic() + GUARD_S
    while not happened():
        assert ui.process.poll() is None
        assert time.monotonic() < guard
        time.sleep(0.05)


def test_each_start_in_the_web_ui_is_a_run_with_live_tabs_and_a_report(
    tmp_path: Path, simulator: Ready
) -> None:
    runs = tmp_path / "runs"
    with web_ui(tmp_path, "--url", simulator.urls["ga"], "--session-pause", "0") as ui:
        _, page = ui.ask("GET", "/")
        assert '"extended_tabs": [{"key": "realtime", "title": "Realtime latency"}' in page
        assert "a row pools all targets" in page
        # set before the script of Locust's page reads the parameter
        assert "first.searchParams.set('tab', 'realtime')" in page
        assert ui.ask("GET", "/realtime/report")[0] == 404
        titles = []
        for number in (1, 2):
            assert ui.swarm(user_count="2", spawn_rate="2")["success"]
            until(
                lambda: any(
                    row["turns"] >= 20 and not isinstance(row["p50"], str) for row in _figures(ui)
                ),
                ui,
            )
            until(
                lambda: all(
                    f"{tables(ui)['realtime-sessions'][0][name]}"[0] != "0" for name in RATES
                ),
                ui,
            )
            assert ui.ask("GET", "/realtime/report")[0] == 404, "that of the run before"
            rows = tables(ui)
            ui.ask("POST", "/stop")
            until(lambda: ui.ask("GET", "/realtime/report")[0] == 200, ui)
            assert len(list(runs.iterdir())) == number
            titles.append(ui.ask("GET", "/realtime/report")[1])
        assert ui.ask("GET", "/realtime/report", Origin="https://example.org")[0] == 403
        ui.end()

    (wait,) = [row for row in rows["realtime"] if row["figure"] == "ttfa"]
    assert (wait["measured_from"], wait["failed"], wait["p50"] > 0) == ("request sent", 0, True)
    (sessions,) = rows["realtime-sessions"]
    assert sessions["target"] == wait["target"]
    assert " · SIMULATED" in sessions["verdict"]
    assert sessions["turns"] >= 20
    folders = sorted(runs.iterdir())
    assert titles == [(folder / "report.html").read_text() for folder in folders]
    states = [json.loads((folder / "run.json").read_text()) for folder in folders]
    assert all(run["totals"]["sessions"]["ok"] >= 1 for run in states)


def _figures(ui: WebUi) -> list[dict[str, Any]]:
    return [row for row in tables(ui)["realtime"] if row["figure"] == "ttfa"]


def test_with_a_login_report_and_progress_are_not_public(tmp_path: Path, simulator: Ready) -> None:
    with web_ui(tmp_path, "--url", simulator.urls["ga"], "--web-login") as ui:
        answers = [ui.ask("GET", path) for path in ("/realtime/report", "/stats/requests")]

    assert not [output for _, output in answers if "extended_stats" in output or "no run" in output]


CHANGES = [
    (method, path)
    for method in ("GET", "POST", "DELETE")
    for path in ("/swarm", "/stop", "/stats/reset", "/user")
]


def test_the_live_page_of_a_run_shows_it_and_changes_nothing(
    tmp_path: Path, simulator: Ready
) -> None:
    load = ("--headless", "-u", "1", "-t", "60s", "--live")
    with web_ui(tmp_path, "--url", simulator.urls["ga"], *load) as served:
        for method, path in CHANGES:
            status, _ = served.ask(method, path, urlencode({"user_count": "9", "spawn_rate": "9"}))
            # 405: this version of Locust has no such handler
            assert status in (403, 405), (method, path)
        assert served.ask("GET", "/", Host="evil.example")[0] == 403
        page = served.ask("GET", "/")[1]
        shown = json.loads(served.ask("GET", "/stats/requests")[1])
        second = [sys.executable, "-m", "locust", "-f", str(write_scenario(tmp_path)), *load]
        refused = forked.run(
            [*second, "--web-port", str(served.port), "--url", simulator.urls["ga"]],
            capture_output=True,
            text=True,
            check=False,
        )
        output = served.end()

    assert NO_CONTROLS in page
    assert OF_REPORT not in page
    assert [table["key"] for table in shown["extended_stats"]] == [*TABS]
    assert shown["state"] in ("spawning", "running")
    assert f"rtbench: live page, read-only: http://127.0.0.1:{served.port}\n" in output
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        f"rtbench: the web page cannot listen on port {served.port}: Address already in use; set"
        " another port with --web-port"
    )
