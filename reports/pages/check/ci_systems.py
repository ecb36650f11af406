"""The CI systems that read lines of a check. Few checks run in one, so `ci`, which writes the
lines, is a module of its own.
"""

from collections.abc import Mapping
from typing import Literal

CiSystem = Literal["github", "azure"]
VARIABLES: Mapping[CiSystem, tuple[str, str]] = {
    "github": ("GITHUB_ACTIONS", "true"),
    "azure": ("TF_BUILD", "True"),
}
"""The variable of the environment that each system sets, and its value."""


def ci_systems(environment: Mapping[str, str]) -> list[CiSystem]:
    """Return the CI systems in which a process with this environment runs."""
    return [name for name, (key, value) in VARIABLES.items() if environment.get(key) == value]
