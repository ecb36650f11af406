"""The interface of what plans and evaluates a run. It belongs to higher packages, whose composition
root hands it in.
"""

from typing import Protocol


class Evaluation(Protocol):
    """The commands that plan and evaluate a run, as lists of words. A command is a process, so
    that this one never interprets thresholds and computes no statistic.
    """

    def command(self, *words: str) -> list[str]:
        """Return a command of this tool, such as `check`, `report` or `simulate`, with its
        arguments.
        """

    def of_thresholds(self, *words: str) -> list[str]:
        """Return the command about the thresholds of a run: `plan`, or `analyse` to stop it."""

    def of_comparison(self, *words: str) -> list[str]:
        """Return the command about the interim analyses of a comparison: `plan` or `analyse`."""

    def of_decision(self, folder: str) -> list[str]:
        """Return the command that decides the comparison of a run that has ended."""
