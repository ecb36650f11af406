"""What plans and evaluates runs, for the packages below this one."""

from bench.base.installation import python_command


class ProcessEvaluation:
    """The evaluation of runs by processes of this tool (`bench.load.runners.evaluation`)."""

    def command(self, *words: str) -> list[str]:
        return python_command("rtbench.cli.app", *words)

    def of_thresholds(self, *words: str) -> list[str]:
        return python_command("reports.pages.check", *words)

    def of_comparison(self, *words: str) -> list[str]:
        return python_command("reports.pages.comparisons", *words)

    def of_decision(self, folder: str) -> list[str]:
        return python_command("rtbench.cli.decision", folder)


EVALUATION = ProcessEvaluation()
