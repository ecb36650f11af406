"""What the package declares to need is what it imports, no less and no more."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import files, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs import licences
from tests.test_imports import MODULES, imports

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"bench", "reports", "scenarios", "rtbench"}
ONLY_FOR_TYPES = {"_typeshed"}
NEVER_NAMED = {"pysocks"}
"""By which requests, and so azure-identity, goes through SOCKS."""
distributions = cache(packages_distributions)


def distribution(module: str) -> str | None:
    """The distribution that a module comes from, by its files; None of a namespace that several share."""
    named = distributions()[module.partition(".")[0]]
    if len(set(named)) == 1:
        return canonicalize_name(named[0])
    holding = (canonicalize_name(name) for path in (module, module.rpartition(".")[0]) for name in _holding(path))
    return next(holding, None)


def _holding(module: str) -> Iterator[str]:
    path = module.replace(".", "/")
    for name in sorted(set(distributions()[module.partition(".")[0]])) if module else ():
        if not {f"{path}.py", f"{path}/__init__.py"}.isdisjoint(files_of(name)):
            yield name


@cache
def files_of(distribution: str) -> frozenset[str]:
    return frozenset(map(str, files(distribution) or ()))


def declared(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def imported() -> set[str | None]:
    """The distributions of all modules that ours import."""
    foreign = {
        module
        for name in MODULES
        for module in imports(name)
        if module.partition(".")[0] not in {*OURS, *ONLY_FOR_TYPES, *sys.stdlib_module_names}
    }
    return {distribution(module) for module in foreign} - {None}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("numpy.typing", "numpy"),
        ("azure", None),
        ("azure.identity", "azure-identity"),
        ("azure.core.exceptions.ClientAuthenticationError", "azure-core"),
        ("opentelemetry.metrics.Meter", "opentelemetry-api"),
        ("opentelemetry.exporter.otlp.proto.http.metric_exporter", "opentelemetry-exporter-otlp-proto-http"),
        ("opentelemetry.sdk.metrics", "opentelemetry-sdk"),
    ],
)
def test_a_module_is_of_one_distribution(module: str, expected: str | None) -> None:
    assert distribution(module) == expected


def test_only_what_is_imported_is_declared_and_all_of_it() -> None:
    needed = declared(PROJECT["dependencies"]) | declared(PROJECT["optional-dependencies"]["otel"])

    assert imported() == needed - NEVER_NAMED
    assert needed >= NEVER_NAMED


def test_the_licences_of_all_that_is_installed_are_listed() -> None:
    written = licences.PAGE.read_text(encoding="utf-8")

    assert written == licences.page(), "run `make schema`"
    assert "|  |" not in written, "a package names no licence"
