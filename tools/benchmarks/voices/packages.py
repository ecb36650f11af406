"""Debian's packages with recorded human speech. They are downloaded when they are first needed,
and not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGES = (
    *(f"asterisk-core-sounds-{language}-wav" for language in ("en", "es", "fr", "it", "ru")),
    "asterisk-prompt-es-co",
    "asterisk-prompt-fr-armelle",
    "asterisk-prompt-it-menardi-wav",
    "alsa-utils",
    "pocketsphinx-testdata",
    "klettres-data",
    "ktuberling-data",
    "fillets-ng-data-cs",
    "fillets-ng-data-nl",
    "gcin-voice",
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtbench-voices"


class Package(NamedTuple):
    """A package whose files are in `folder`."""

    name: str
    version: str
    folder: Path


def packages() -> list[Package]:
    """Return all packages. Download and unpack those that are not in the cache."""
    archives = CACHE / "packages"
    archives.mkdir(parents=True, exist_ok=True)
    missing = [name for name in PACKAGES if not (archives / name / "usr").is_dir()]
    if missing:
        print(f"downloading {', '.join(missing)} ...", file=sys.stderr)
        try:
            subprocess.run(
                ["apt-get", "download", "-qq", *missing],
                cwd=archives,
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", b"").decode().strip() or error
            sys.exit(
                f"{reason}\nThe voices are in packages of Debian 12: run apt-get update there first"
            )
    for name in missing:
        (archive,) = archives.glob(f"{name}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, archives / name], check=True)
        (archives / f"{name}.version").write_text(_version(archive))
        archive.unlink()
    return [
        Package(name, (archives / f"{name}.version").read_text(), archives / name)
        for name in PACKAGES
    ]


def _version(archive: Path) -> str:
    shown = subprocess.run(
        ["dpkg-deb", "-f", archive, "Version"], check=True, capture_output=True, text=True
    )
    return shown.stdout.strip()
