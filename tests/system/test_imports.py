"""The allowed imports between modules, and for each library the modules that may import it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.simulator_process import ROOT


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("bench", {"locust", "gevent", "pandas", "numpy", "msgspec", "pyarrow"}),
        (
            "rtbench.cli.app",
            {"locust", "gevent", "pandas", "numpy", "pyarrow", "scipy", "websockets", "azure"},
        ),
        ("bench.observe.timeline", {"locust", "gevent", "pandas", "websockets", "pyarrow"}),
        ("bench.session.session", {"locust", "gevent", "pandas"}),
        ("reports", {"locust", "gevent", "websockets"}),
        ("rtbench.cli.simulate", {"asyncio", "numpy", "websockets", "ruamel"}),
        ("bench.record.replay, rtbench.cli.session_text", {"locust", "pandas", "pyarrow", "scipy"}),
        ("bench.probe, rtbench.cli.session_text", {"locust", "pandas", "scipy"}),
    ],
)
def test_importing_a_module_does_not_import_heavy_dependencies(
    modules: str, heavy: set[str]
) -> None:
    program = (
        f"import sys, {modules}; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stderr
    assert heavy & set(found.stdout.split()) == set()
