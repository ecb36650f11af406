"""The commands of `rtbench`, grouped into files by theme."""

import sys
from contextlib import suppress

from rtbench import PACKAGES, UNUSABLE_STATUS, name_problem

try:
    if problem := next(filter(None, map(name_problem, PACKAGES)), ""):
        print(f"rtbench: {problem}", file=sys.stderr)
        sys.exit(UNUSABLE_STATUS)
    from bench.base import memory, standard_streams
    from bench.base.errors import INTERRUPTED_STATUS
    from bench.base.installation import refuse_windows, tool_version
    from rtbench.run_process import become_run, is_run

    refuse_windows()
    memory.prepare()
except KeyboardInterrupt:
    sys.exit(130)


def print_version() -> None:
    """Print the name and the version of this tool."""
    print(f"rtbench {tool_version()}")


def main() -> None:
    """Run a command. Exit without a traceback on Ctrl-C, also during the import."""
    words = sys.argv[1:]
    try:
        # these need none of the commands, which take most of the time
        if words == ["--version"]:
            standard_streams.prepare()
            print_version()
            return
        if is_run(words):
            standard_streams.prepare()
            with suppress(OSError):  # the command reports it
                become_run(words[1:])
        from rtbench.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)
