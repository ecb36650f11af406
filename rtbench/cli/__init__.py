"""The commands of `rtbench`, grouped into files by theme."""

import sys

from rtbench import PACKAGES, UNUSABLE_STATUS, name_problem

try:
    if problem := next(filter(None, map(name_problem, PACKAGES)), ""):
        print(f"rtbench: {problem}", file=sys.stderr)
        sys.exit(UNUSABLE_STATUS)
    from bench.base import memory
    from bench.base.errors import INTERRUPTED_STATUS
    from bench.base.installation import refuse_windows

    refuse_windows()
    memory.prepare()
except KeyboardInterrupt:
    sys.exit(130)


def main() -> None:
    """Run a command. Exit without a traceback on Ctrl-C, also during the import."""
    try:
        from rtbench.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)
