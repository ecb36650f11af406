"""The arguments that users pass to the functions of `rtbench`: parsed, or rejected in one line, in terms of Python."""

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
    """Return a loaded run, or the path of its folder (with the target, if one is named). Raise UsageError otherwise."""
    if isinstance(run, RunFrames):
        return run
    if isinstance(run, Path | str):
        return str(run)
    raise UsageError(f"a run is a loaded run or the path of its folder, not {_shown(run)}")


def given_texts(given: str | Sequence[str] | None, what: str) -> tuple[str, ...]:
    """Return the texts as a tuple.

    A single text needs no list, and None means no texts. `what`: their plural, for errors.
    """
    found = (given,) if isinstance(given, str) else _listed(given, what)
    for one in found:
        if not isinstance(one, str):
            raise UsageError(f"{what} must be strings, not {_shown(one)}")
    return found


def metric_with_name(given: str) -> str:
    """Return the name of a metric; its column `ttfa_ms` may stand for `ttfa`. Raise UsageError if it is no text."""
    (text,) = given_texts((given,), "metrics")
    name = text.removesuffix("_ms")
    return name if name in CATALOGUE and CATALOGUE[name].unit == "ms" else text


def quantile_levels(given: float | Sequence[float]) -> tuple[float, ...]:
    """Return the levels of quantiles.

    A single level needs no list. Raise UsageError for a level not between 0 and 1.
    """
    found = (given,) if isinstance(given, Real) else _listed(given, "quantiles")
    for one in found:
        if not isinstance(one, Real) or not 0 < float(one) < 1:
            raise UsageError(f"a quantile must be between 0 and 1, such as 0.95, not {_shown(one)}")
    # the shortest equal decimal: 0.95 for numpy's float32 0.95, which is exactly 0.949999988
    return tuple(float(str(one)) if isinstance(one, np.floating) else float(one) for one in found)


def _listed(given: Any, what: str) -> tuple[Any, ...]:
    if given is None:
        return ()
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        raise UsageError(f"pass {what} as separate arguments or as a list, not as {_shown(given)}")
    return tuple(given)


def _shown(given: Any) -> str:
    shown = repr(given).split("\n", 1)[0]
    return f"{shown[:60]} ({type(given).__name__})"


@contextmanager
def in_python(*parameters: str, **called: str) -> Iterator[None]:
    """Replace the options of commands in errors with the parameters of a function.

    - `parameters`: the parameters that have the name of their option
    - `called`: option → parameter, if the two names differ
    """
    names = {name.replace("_", "-"): name for name in parameters} | called
    option = f"--({'|'.join(names)})"
    try:
        yield
    except UsageError as error:
        if type(error) is not UsageError:  # an error at a place in a file, which names no option
            raise
        text = re.sub(rf"write {option} (\S+)", lambda found: f'write {names[found[1]]}="{found[2]}"', str(error))
        text = re.sub(rf"{option}\b[ =](?=[A-Z\"])", lambda found: f"{names[found[1]]}=", text)
        raise UsageError(re.sub(rf"{option}\b", lambda found: names[found[1]], text)) from None
