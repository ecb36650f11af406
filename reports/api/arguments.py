"""The parsing of arguments of the functions of `rtbench`."""

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE
from bench.record.presence import file_status, runs_folder
from bench.record.run_list import reference, resolve_run, split_name
from reports.data.runs import RunFrames


def given_run(run: RunFrames | Path | str) -> RunFrames | str:
    """Return a loaded run unchanged, or the path of a run as text, which may end in the name of a
    target.

    Raise UsageError for any other argument.
    """
    if isinstance(run, RunFrames):
        return run
    if isinstance(run, Path | str):
        return str(run)
    raise UsageError(f"a run is a loaded run or the path of its folder, not {_shown(run)}")


def found_run(run: RunFrames | Path | str) -> RunFrames | str:
    """Return a loaded run unchanged, or the path of a run that commands would find (`path_of`)."""
    given = given_run(run)
    return given if isinstance(given, RunFrames) else path_of(given)


def path_of(text: str) -> str:
    """Return the path of a run, which may end in the name of a target. Raise UsageError if there is
    no such run.

    Like commands, accept the name of a run in the folder of the runs, and "" for the newest run
    that has ended.
    """
    folder, target = split_name(text)
    found = folder
    if not (text and file_status(folder)):
        found = resolve_run(str(folder) if text else "", runs_folder())
    return reference(found, target)


def given_texts(value: str | Sequence[str] | None, plural_noun: str) -> tuple[str, ...]:
    """Return one text, a list of texts, or None, which means no text, as a tuple.

    Raise UsageError for any other value. `plural_noun` is the name of the texts in the error.
    """
    texts = (value,) if isinstance(value, str) else _listed(value, plural_noun)
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"{plural_noun} must be strings, not {_shown(text)}")
    return texts


def metrics_with_names(metric: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of one metric or several. The name of a metric's column (`ttfa_ms`) is also
    accepted.

    Raise UsageError if there is none, or if one is not a string.
    """
    texts = given_texts(metric, "metrics")
    if not texts:
        raise UsageError('name at least one metric, such as "ttfa"')
    names = [(text, text.removesuffix("_ms")) for text in texts]
    is_column = {name: name in CATALOGUE and CATALOGUE[name].unit == "ms" for _, name in names}
    return tuple(dict.fromkeys(name if is_column[name] else text for text, name in names))


def quantile_levels(value: float | Sequence[float]) -> tuple[float, ...]:
    """Return one level or a list of levels as a tuple. Raise UsageError for a level that is not
    between 0 and 1.
    """
    levels = (value,) if isinstance(value, Real) else _listed(value, "quantiles")
    if not levels:
        raise UsageError("name at least one quantile, such as 0.95")
    for level in levels:
        if not isinstance(level, Real) or not 0 < float(level) < 1:
            raise UsageError(
                f"a quantile must be between 0 and 1, such as 0.95, not {_shown(level)}"
            )
    # the shortest equal decimal: 0.95 for numpy's float32 0.95, which is exactly 0.949999988
    return tuple(
        float(str(level)) if isinstance(level, np.floating) else float(level) for level in levels
    )


def _listed(value: Any, plural_noun: str) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise UsageError(
            f"pass {plural_noun} as separate arguments or as a list, not as {_shown(value)}"
        )
    return tuple(value)


def _shown(value: Any) -> str:
    text = repr(value).split("\n", 1)[0]
    return f"{text[:60]} ({type(value).__name__})"
