"""The commands, one short file for each."""

import sys

try:
    from bench.errors import INTERRUPTED_STATUS
    from bench.installation import refuse_windows
except KeyboardInterrupt:
    sys.exit(130)

refuse_windows()


def main() -> None:
    """Run a command. Ctrl-C ends it without a traceback also while it is being imported."""
    try:
        from rtbench.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)
