"""`--upload` sends the folder of a run to a container. The signature in the container's URL is never displayed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench.record import folder as files
from tests.blob_server import blob_server
from tests.command_line import call
from tests.simulator_process import quick_simulator
from tests.system.deploy_files import LOAD_TEST, documents
from tests.system.end_to_end.locust_process import ENDS_WELL, GUARD_S, locust, write_scenario


def test_engines_of_azure_load_testing_upload_runs_that_can_be_merged(tmp_path: Path) -> None:
    (load_test,) = documents(LOAD_TEST)
    given = {entry["name"]: entry["value"] for entry in load_test["env"]}
    options = {name: value for name, value in given.items() if name.startswith("LOCUST_") and name != "LOCUST_AUTH"}
    with quick_simulator(tmp_path) as ready, blob_server() as server, ExitStack() as engines:
        load = ("-u", "1", "--sessions", "1", "--url", ready.urls["ga"])
        variables = options | {"LOCUST_UPLOAD": server.url}
        scenario = write_scenario(tmp_path)  # a short scenario, because the test plan takes half a minute
        started = [
            engines.enter_context(locust(scenario, tmp_path / name / "runs", *load, **variables)) for name in ("a", "b")
        ]
        for engine in started:
            _, errors = engine.communicate(timeout=GUARD_S)
            assert engine.returncode in ENDS_WELL, errors
        server.save(tmp_path)

    ended = call("merge", tmp_path / "container", "-o", tmp_path / "merged")
    assert ended.exit_code in ENDS_WELL, ended.output
    document = files.read_document(tmp_path / "merged")
    assert document["part_of"] == options["LOCUST_PART_OF"]
    assert len(document["parts"]) == len(files.read_table(tmp_path / "merged", "sessions")) == 2
