"""The names by which users refer to the steps of a run. Pure.

A script names its own steps. If a run has several scripts, reports call a step `SCRIPT: STEP`.
"""

from collections.abc import Sequence

import numpy as np

from bench.base.errors import UsageError
from reports.metrics.thresholds import near, quoted
from reports.statistics.counting import Flags

Steps = Sequence[tuple[str, str]]
"""Steps, each with the name of its script and its own name in that script."""


def matching(name: str, steps: Steps) -> Flags:
    """Return a mask of the steps that a user calls `name`: as `SCRIPT: STEP`, or by the step's own
    name.

    If several scripts have a step with this own name, the name is ambiguous, and no step matches.
    """
    complete = np.array([f"{script}: {own}" == name for script, own in steps], bool)
    if complete.any() or len({script for script, own in steps if own == name}) != 1:
        return complete
    return np.array([own == name for _, own in steps], bool)


def refusal(name: str, steps: Steps, absent: str = "") -> UsageError:
    """Return an error that states why no step matches a name, with the names that are allowed.

    `absent` states that there is no such step. By default, it is such as `there is no step "helo"`.
    """
    several = len({script for script, _ in steps}) > 1
    known = list(dict.fromkeys(f"{script}: {own}" if several else own for script, own in steps))
    own_names = dict.fromkeys(own for _, own in steps)
    listed = f"these are: {', '.join(known) or 'none'}"
    if name in own_names:
        first = next(script for script, own in steps if own == name)
        return UsageError(
            f"several scripts have a step {quoted(name)}: name the script, such as {first}: {name};"
            f" {listed}"
        )
    return UsageError(
        f"{absent or f'there is no step {quoted(name)}'}{near(name, [*own_names, *known])} {listed}"
    )
