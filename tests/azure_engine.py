"""A stand-in of an engine of Azure Load Testing, as its documents describe it.

The files of a test land in one flat folder, and archives are extracted there. An engine has the
environment variables of the test, of which the numbers of users were divided, no master, and a
managed identity that IMDS serves. It is killed when it is over.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

from ruamel.yaml import YAML

from bench.base.installation import REPORT_PACKAGES
from rtbench.locust_run import without_proxies
from tests import forked
from tests.simulator_process import Ready

DIVIDED = ("LOCUST_USERS", "LOCUST_SPAWN_RATE")
WITHOUT_REPORTS = f"""
PACKAGES = {REPORT_PACKAGES}
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec


def without_reports(name, path=None, target=None):
    return None if name.partition(".")[0] in PACKAGES else find_spec(name, path, target)


PathFinder.find_spec = without_reports
"""
"""A `sitecustomize` that hides the packages that an engine's wheel does not require."""


def load_test(path: Path) -> dict[str, Any]:
    test: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return test


def deploy(test_file: Path, folder: Path) -> None:
    """Copy the files of a test to an engine. Each must exist."""
    folder.mkdir(parents=True)
    test = load_test(test_file)
    for name in (test["testPlan"], *test.get("configurationFiles", ())):
        shutil.copy(test_file.parent / name, folder / Path(name).name)
    for name in test.get("zipArtifacts", ()):
        with zipfile.ZipFile(test_file.parent / name) as archive:
            archive.extractall(folder)


def engine_environment(
    test_file: Path, folder: Path, identity: dict[str, str], **changes: str
) -> dict[str, str]:
    """Return the environment of an engine. `changes` replace values of the test, before the
    users are divided.
    """
    test = load_test(test_file)
    given = {entry["name"]: str(entry["value"]) for entry in test["env"]} | changes
    engines = int(test["engineInstances"])
    divided = {name: f"{float(given[name]) / engines:g}" for name in DIVIDED}
    packages = folder / "packages"
    packages.mkdir()
    (packages / "sitecustomize.py").write_text(WITHOUT_REPORTS)
    own = {
        name: value
        for name, value in without_proxies(os.environ).items()
        if not name.startswith(("AZURE_", "LOC"))
    }
    return own | {"PYTHONPATH": str(packages), "NO_COLOR": "1"} | identity | given | divided


@contextmanager
def engine(
    test_file: Path, folder: Path, environment: Mapping[str, str], *words: str
) -> Iterator[Any]:
    """Run the test plan in an engine's folder. At the end of the block, the engine is killed."""
    plan = Path(load_test(test_file)["testPlan"]).name
    process = forked.Popen(
        [sys.executable, "-m", "locust", "-f", plan, "--headless", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.communicate()


@contextmanager
def imds(ready: Ready) -> Iterator[dict[str, str]]:
    """Serve the tokens of a simulator as the metadata service of a virtual machine. Yield the
    variables for it.
    """
    identity = ready.identity
    assert identity is not None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            is_valid = (
                self.headers["Metadata"] == "true"
                and "/metadata/identity/oauth2/token" in self.path
            )
            body = b"{}"
            if is_valid:
                asked = urlencode({"api-version": "2019-08-01", "resource": query["resource"][0]})
                headers = {"X-IDENTITY-HEADER": identity["header"]}
                with urlopen(Request(f"{identity['endpoint']}?{asked}", headers=headers)) as answer:
                    body = json.dumps(json.load(answer) | {"expires_in": 3600}).encode()
            self.send_response(200 if is_valid else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Do not log requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{server.server_address[1]}"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
