"""What `rtbench run` does in its process, `python -m rtbench.run_process FILE… OPTIONS`.

The files are scripts and Locust files. Locust's own parser reads the command line, so every option
of `locust` is also an option here. Words that are neither options nor values of options are the
names of the files.
"""

# Locust's `main` is the program. It reads `sys.argv`, which is rewritten here, and ends the
# process. All that is done before it must be known from the words alone. Its parser is called
# twice: here, to find the words that are no options, and later by Locust itself. The listeners that
# are added here run in between.

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from locust import events
from locust.argument_parser import get_parser
from locust.main import main as locust

from bench.base.errors import USAGE_STATUS, UsageError
from bench.load.planning.command_line import locust_files, run_arguments
from bench.load.planning.run_options import add_command
from bench.load.runners import locust_events
from bench.load.runners.evaluation import Evaluation


class Argument(str):
    """A word of the command line. It has its position, because a parser returns only some of the
    words.
    """

    position: int


def positional_arguments(words: Sequence[str]) -> set[int]:
    """Return the positions of the words that are neither options nor their values for Locust's
    parser.
    """
    parser = get_parser()
    parser._actions = [action for action in parser._actions if action.option_strings]
    placed = [Argument(word) for word in words]
    for position, word in enumerate(placed):
        word.position = position
    _, free = parser.parse_known_args(placed)
    return {word.position for word in free if isinstance(word, Argument)}


def run_files(evaluation: Evaluation) -> None:
    """Run the files that the command line names. End the process with the exit status of the
    run.
    """
    locust_events.register(evaluation)
    events.init_command_line_parser.add_listener(add_command)
    words = sys.argv[1:]
    try:
        arguments = run_arguments(words, positional_arguments(words))
    except UsageError as error:
        print(f"rtbench: {error}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    environments = []

    def set_defaults(parser: Any, **_: Any) -> None:
        parser.set_defaults(**arguments.defaults)

    events.init_command_line_parser.add_listener(set_defaults)

    def note(environment: Any, **_: Any) -> None:
        environments.append(environment)
        environment.parsed_options.locustfile = ",".join(map(str, arguments.files))

    events.init.add_listener(note)
    unknown_classes = []

    def is_no_unknown_class(record: logging.LogRecord) -> bool:
        """Take Locust's message about names that are no user classes out of its log."""
        message, _, names = record.getMessage().partition(": ")
        if message == "Unknown User(s)":
            unknown_classes.append(names)
        return message != "Unknown User(s)"

    logging.getLogger("locust.main").addFilter(is_no_unknown_class)
    files, variables = locust_files(*arguments.files)
    os.environ |= variables
    sys.argv[1:] = ["-f", files, *arguments.others]
    try:
        locust()
    except SystemExit as end:
        for names in unknown_classes:
            print(
                f"rtbench: {names}: no such file, and no such user class in the Locust files",
                file=sys.stderr,
            )
        # If the user must fix something, Locust ends with 1, which here is the status of a run that
        # failed.
        sys.exit(USAGE_STATUS if end.code and not environments else end.code)
    except Exception:
        if environments:
            raise
        locust_events.report_error(*sys.exc_info())  # usually an error in the user's file
        sys.exit(USAGE_STATUS)
