"""The modules that an import, or a command, does not import, because only others need them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.simulator_process import ROOT

COMMAND = "from rtbench.cli import main\ntry: main()\nexcept SystemExit: pass"
RUNS = ("locust", "gevent", "bench.load")
READS = ("pandas", "pyarrow", "scipy", "reports.analysis", "reports.data")


@pytest.mark.parametrize(
    ("program", "unneeded"),
    [
        ("import bench", ("locust", "gevent", "pandas", "numpy", "msgspec", "pyarrow")),
        (
            "import rtbench.cli.app",
            ("locust", "gevent", "numpy", "websockets", "azure", *READS),
        ),
        (
            "import bench.observe.timeline",
            ("locust", "gevent", "pandas", "websockets", "pyarrow"),
        ),
        ("import bench.session.session", ("locust", "gevent", "pandas")),
        ("import reports", ("locust", "gevent", "websockets")),
        ("import rtbench.cli.simulate", ("asyncio", "numpy", "websockets", "ruamel")),
        (
            "import bench.record.replay, rtbench.cli.session_text",
            ("locust", "pandas", "pyarrow", "scipy"),
        ),
        ("import bench.probe, rtbench.cli.session_text", ("locust", "pandas", "scipy")),
        (
            "import rtbench; rtbench.RealtimeUser",
            (
                "azure",
                "botocore",
                "bench.protocols.sdp",
                "bench.protocols.webrtc",
                "bench.record.finalize",
                "h2",
                "pandas",
                "pyarrow.compute",
                "pyarrow.parquet",
                "python_socks",
                "reports.analysis",
                "reports.data",
                "rtbench_simulator",
                "scipy",
            ),
        ),
        (
            "import bench.load.execution.live_run as live_run, types\n"
            "live_run.warm_up(types.SimpleNamespace(targets=(), scripts=()))",
            ("pandas", "pyarrow.parquet"),
        ),
        (
            "import reports.pages.check.report, reports.analysis.check.check",
            ("psutil", "scipy", "reports.pages.run_report", "reports.analysis.comparisons"),
        ),
        (
            "import reports.statistics.distributions as of; of.ndtri(0.5)",
            ("numpy.f2py", "numpy.testing", "pandas"),
        ),
        ("--version", ("typer", "numpy")),
        ("run --simulator --sessions -5", ("numpy", *RUNS[:2], *READS)),
        ("validate scenarios/text_turns.py", ("numpy", "ruamel", "bench.plan", *RUNS, *READS)),
        (
            "validate scenarios/scripts/voice_turns.yaml",
            ("bench.target", "psutil", "pydantic", "reports.metrics", *RUNS, *READS),
        ),
    ],
)
def test_what_does_not_need_a_module_does_not_import_it(
    program: str, unneeded: tuple[str, ...]
) -> None:
    code, words = (program, []) if program.startswith("import ") else (COMMAND, program.split())
    listed = f"{code}\nimport sys; print('', *sorted(sys.modules), sep='\\n')"
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", listed, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    imported = found.stdout.splitlines()
    assert "sys" in imported
    assert [
        module for module in imported if f"{module}.".startswith(tuple(f"{n}." for n in unneeded))
    ] == []


AFTER = """
from reports.statistics import distributions
before = distributions.betaincinv(2, 3, 0.4), distributions.nctdtr(3, 1, 0.5)
import scipy.special, scipy.stats
assert before == (scipy.special.betaincinv(2, 3, 0.4), scipy.special.nctdtr(3, 1, 0.5))
assert abs(scipy.stats.norm.cdf(distributions.ndtri(0.3)) - 0.3) < 1e-12
"""


def test_scipy_can_be_imported_after_its_functions_were_without_their_package() -> None:
    subprocess.run([sys.executable, "-c", AFTER], cwd=ROOT, check=True)
