"""Calls of YAML scripts, without Python: `locust -f scenarios/script.py --script mine.yaml`.

`--script` may be repeated, and has the variable LOCUST_SCRIPT.
"""

import sys
from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import get_empty_argument_parser

from rtbench import RealtimeUser, script

NO_SCRIPT = (
    "rtbench: name the YAML scripts that callers play: --script mine.yaml; also on each worker"
)


def add_script(parser: Any) -> None:
    """Add the option to a parser of Locust."""
    parser.add_argument(
        "--script",
        action="append",
        env_var="LOCUST_SCRIPT",
        metavar="FILE",
        include_in_web_ui=False,
        help="YAML script that callers play, each equally often; may be repeated",
    )


# Locust imports this file before it reads its options
PARSER = get_empty_argument_parser(add_help=False)
add_script(PARSER)
PATHS = [Path(name).resolve() for name in PARSER.parse_known_args()[0].script or ()]
if not PATHS:
    print(NO_SCRIPT, file=sys.stderr)
    sys.exit(2)
events.init_command_line_parser.add_listener(add_script)


class ScriptCaller(RealtimeUser):
    """A caller who plays the scripts."""

    tasks = [script(path) for path in PATHS]

    @classmethod
    def scenario_name(cls) -> str:
        return "_and_".join(path.stem for path in PATHS)
