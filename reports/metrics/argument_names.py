"""The names of arguments in errors: options of a command, or parameters of a function of
`rtbench`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PARAMETERS = {
    "allow-different": "allow_different",
    "baseline": "baseline",
    "metric": "metrics",
    "thresholds": "thresholds",
}
"""The parameter that has the meaning of each option."""
_IN_PYTHON = ContextVar("_IN_PYTHON", default=False)


def option(name: str, value: str = "") -> str:
    """Return an argument as the caller writes it: `--baseline RUN`, or `baseline=RUN` in Python."""
    if _IN_PYTHON.get():
        return f"{PARAMETERS[name]}={value}" if value else PARAMETERS[name]
    return f"--{name} {value}".rstrip()


def option_of_text(name: str, text: str) -> str:
    """Return an argument whose value is a text: `--metric ttfa:p95`, or `metrics="ttfa:p95"` in
    Python.
    """
    return option(name, f'"{text}"' if _IN_PYTHON.get() else text)


@contextmanager
def in_python() -> Iterator[None]:
    """Run the block. Its errors name parameters of functions of `rtbench`."""
    token = _IN_PYTHON.set(True)
    try:
        yield
    finally:
        _IN_PYTHON.reset(token)
