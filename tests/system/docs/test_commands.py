"""Every command line of the README and of the documents is one: its options exist, and the files that it names."""

from __future__ import annotations

import json
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


YOURS = {"mine.yaml"}
"""Scripts that a page tells its reader to write."""
PARSE_RUN = """
import json, shlex, sys
from locust import events
import bench.load.run_files as run_files
from bench.load.planning.run_options import add_command
events.init_command_line_parser.add_listener(add_command)
for line in sys.stdin:
    words = shlex.split(line)
    print(json.dumps([words[place] for place in run_files.free_words(words)]))
"""


def test_every_run_parses_and_names_files_that_are_there() -> None:
    lines = [shlex.join(arguments[1:]) for _, arguments in of("rtbench") if arguments[0] == "run"]
    parsed = forked.run(
        [sys.executable, "-c", PARSE_RUN], words="\n".join(lines), capture_output=True, text=True, check=False
    )

    files = [file for line in parsed.stdout.splitlines() for file in json.loads(line)]
    assert parsed.returncode == 0, parsed.stderr
    assert len(files) >= len(lines) >= 1
    assert not [file for file in files if file not in YOURS and not (ROOT / file).is_file()]


def test_every_locust_command_parses_and_names_files_that_are_there() -> None:
    lines = [shlex.join(arguments) for _, arguments in of("locust")]
    parsed = forked.run(
        [sys.executable, "-c", PARSE], words="\n".join(lines), capture_output=True, text=True, check=False
    )

    named = parsed.stdout.splitlines()
    assert parsed.returncode == 0, parsed.stderr
    assert len(named) == len(lines) >= 20
    assert not [p for line in named for p in line.split(",") if not (ROOT / p).is_file()]
