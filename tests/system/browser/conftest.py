"""One headless browser for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.system.browser.chromium import Browser, installed, started


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield the browser. If none is installed, skip the test, or fail it if the environment must
    have a browser.
    """
    if installed() is None:
        missing = "no Chromium here; on Debian: apt-get install chromium"
        if os.environ.get("CI") or os.environ.get("RTBENCH_NEEDS_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    with started(tmp_path_factory.mktemp("browser")) as found:
        yield found
