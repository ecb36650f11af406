"""Every command line of the README and of the documents is one: its options exist, and the files that it names."""

from __future__ import annotations

import shlex
import sys

from tests import forked
from tests.docs.commands import ROOT
from tests.docs.test_commands import of

PARSE = """
import shlex, sys
from locust.argument_parser import get_parser
import bench.load.user
parser = get_parser(default_config_files=[])
for line in sys.stdin:
    print(parser.parse_args(shlex.split(line)).locustfile)
"""


def test_every_locust_command_parses_and_names_files_that_are_there() -> None:
    lines = [shlex.join(arguments) for _, arguments in of("locust")]
    parsed = forked.run(
        [sys.executable, "-c", PARSE], words="\n".join(lines), capture_output=True, text=True, check=False
    )

    named = parsed.stdout.splitlines()
    assert parsed.returncode == 0, parsed.stderr
    assert len(named) == len(lines) >= 20
    assert not [p for line in named for p in line.split(",") if not (ROOT / p).is_file()]
