"""The files of a folder for Azure Load Testing."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from string import Template

from bench.base.installation import EXAMPLES
from rtbench.azure_load_testing.engine_wheel import engine_wheel

TEMPLATES = EXAMPLES / "starter" / "azure-load-testing"
SCENARIO = (
    "scripts/voice_turns.yaml",
    "audio/opening_hours.wav",
    "audio/late_parcel.wav",
    "audio/order_number.wav",
    "audio/goodbye.wav",
)
ANY_WHEEL = "rtbench-0.1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
"""The name of the wheel if none is given: the user adds it to the folder."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of the files in an archive, so that the same files make the same archive."""


def load_test_files(wheel: Path | None) -> Mapping[Path, bytes]:
    """Return the contents of the files of the folder, by their paths. Raise UsageError if the
    wheel is not usable.
    """
    name = wheel.name if wheel else ANY_WHEEL
    texts = {
        path.relative_to(TEMPLATES): path.read_text(encoding="utf-8")
        for path in TEMPLATES.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"  # pip compiles what it installs
    }
    files = {
        path: Template(text).safe_substitute(wheel=name).encode()
        for path, text in sorted(texts.items())
    }
    return (
        files
        | {Path("scenario.zip"): _archive()}
        | ({Path(name): engine_wheel(wheel)} if wheel else {})
    )


def _archive() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in SCENARIO:
            archive.writestr(zipfile.ZipInfo(name, EARLIEST), (EXAMPLES / name).read_bytes())
    return written.getvalue()
