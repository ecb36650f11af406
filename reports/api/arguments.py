"""What users give to the functions of `rtbench`: read, or refused in one line, in the words of Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.metrics import CATALOGUE
from reports.runs import RunFrames


def given_run(run: RunFrames | Path | str) -> RunFrames | str:
    """A run that was loaded, or the path of its folder, with the target if one is named."""
    if isinstance(run, RunFrames):
        return run
    if isinstance(run, Path | str):
        return str(run)
    raise UsageError(f"a run is one that was loaded, or the path of its folder, not {_shown(run)}")


def given_texts(given: str | Sequence[str] | None, what: str) -> tuple[str, ...]:
    """Texts, of which one may be given alone; none of None. `what`: they are, in the plural, for the error."""
    found = (given,) if isinstance(given, str) else _listed(given, what)
    for one in found:
        if not isinstance(one, str):
            raise UsageError(f"{what} are texts, not {_shown(one)}")
    return found


def metric_named(given: str) -> str:
    """The metric `ttfa`, which its column `ttfa_ms` may stand for. Raises UsageError for what is no text."""
    (text,) = given_texts((given,), "metrics")
    name = text.removesuffix("_ms")
    return name if name in CATALOGUE and CATALOGUE[name].unit == "ms" else text


def quantile_levels(given: float | Sequence[float]) -> tuple[float, ...]:
    """The p of quantiles, of which one may be given alone. Raises UsageError for what lies not between 0 and 1."""
    found = (given,) if isinstance(given, Real) else _listed(given, "quantiles")
    for one in found:
        if not isinstance(one, Real) or not 0 < float(one) < 1:
            raise UsageError(f"a quantile lies between 0 and 1, such as 0.95, not {_shown(one)}")
    # the shortest number that is the same: 0.95 of numpy's float32, which is 0.949999988 exactly
    return tuple(float(str(one)) if isinstance(one, np.floating) else float(one) for one in found)


def _listed(given: Any, what: str) -> tuple[Any, ...]:
    if given is None:
        return ()
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        raise UsageError(f"{what} are given one by one or as a list, not as {_shown(given)}")
    return tuple(given)


def _shown(given: Any) -> str:
    shown = repr(given).split("\n", 1)[0]
    return f"{shown[:60]} ({type(given).__name__})"


@contextmanager
def in_python(*parameters: str, **called: str) -> Iterator[None]:
    """Errors that name options of commands name the parameters of a function instead.

    `parameters` have the name of their option; `called`: option → parameter, if the two differ.
    """
    names = {name.replace("_", "-"): name for name in parameters} | called
    option = f"--({'|'.join(names)})"
    try:
        yield
    except UsageError as error:
        if type(error) is not UsageError:  # at a place of a file, which is of no function
            raise
        text = re.sub(rf"write {option} (\S+)", lambda found: f'write {names[found[1]]}="{found[2]}"', str(error))
        text = re.sub(rf"{option}\b[ =](?=[A-Z\"])", lambda found: f"{names[found[1]]}=", text)
        raise UsageError(re.sub(rf"{option}\b", lambda found: names[found[1]], text)) from None
