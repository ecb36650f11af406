"""The command that draws docs/report.png: the first screen and the distribution of a synthetic run
with two targets.

make picture
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from reports.data.runs import load_for_report
from reports.pages.run_report.document import write_report
from tests.reports import synthetic
from tests.reports.synthetic import Plan
from tests.system.browser.chromium import started

PICTURE = Path(__file__).parents[1] / "docs" / "report.png"
RUN = Plan(
    sessions=240,
    turns=6,
    targets=("sweden", "eastus2"),
    failed=0.01,
    seconds=600,
    paired=True,
    usage=True,
)
WIDE, HIGH = 1120, 920


def main() -> None:
    """Write the picture with the installed Chromium."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = synthetic.write(
            Path(folder) / "runs" / "20261120T091400Z-voice_turns", RUN, interleaved=True
        )
        page = write_report(load_for_report(run)).html
        with (
            started(Path(folder) / "profile") as browser,
            browser.page(page, WIDE, HIGH, "light") as shown,
        ):
            PICTURE.write_bytes(shown.picture(whole=False))


if __name__ == "__main__":
    main()
