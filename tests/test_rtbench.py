"""The names that users import. They come from our modules, even if a module on the user's path
has the same name.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

import rtbench
from bench.base.installation import tool_version

LOCUST = ("rtbench.locust_user", "rtbench.overload.callers")
"""The modules that import Locust. Locust patches the standard library of the process.

Scenarios import from `rtbench` instead of this module.
"""
TREE = ast.parse(Path(rtbench.__file__).read_text(encoding="utf-8"))


def places_in(body: list[ast.stmt]) -> dict[str, tuple[str, ...]]:
    return {
        str(line.module): tuple(name.name for name in line.names)
        for line in body
        if isinstance(line, ast.ImportFrom)
    }


def test_every_exported_name_is_the_object_of_its_module() -> None:
    assert sorted(name for names in rtbench.EXPORTS.values() for name in names) == sorted(
        rtbench.__all__
    )
    for place, names in rtbench.EXPORTS.items():
        for name in names if place not in LOCUST else ():
            assert getattr(rtbench, name) is getattr(importlib.import_module(place), name)


def test_only_names_for_users_are_listed() -> None:
    assert dir(rtbench) == sorted([*rtbench.__all__, "__version__"])
    assert rtbench.__version__ == tool_version()


def test_a_type_checker_sees_the_same_exported_names() -> None:
    (checked,) = (node.body for node in TREE.body if isinstance(node, ast.If))

    assert places_in(checked) == rtbench.EXPORTS


def test_importing_rtbench_imports_only_the_standard_library() -> None:
    imported = {
        name.name for node in TREE.body if isinstance(node, ast.Import) for name in node.names
    }
    imported |= set(places_in(TREE.body))

    assert {name.partition(".")[0] for name in imported} <= {*sys.stdlib_module_names}


def test_a_name_that_is_not_exported_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'summarise'"):
        _ = rtbench.summarise


TAKEN = [
    ("bench", "RealtimeUser"),
    ("bench", "UsageError"),
    ("bench", "__version__"),
    ("reports", "load"),
    ("bench", "load"),
]


@pytest.mark.parametrize(("package", "name"), TAKEN)
def test_a_user_s_file_with_the_name_of_our_package_is_an_error_of_one_line(
    package: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    theirs = ModuleType(package)
    theirs.__file__ = str(tmp_path / f"{package}.py")
    monkeypatch.setitem(sys.modules, package, theirs)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(rtbench.UnusableError) as caught:
        rtbench.__getattr__(name)
    with pytest.raises(SystemExit) as ended:
        sys.excepthook(caught.type, caught.value, None)

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line == (
        f"rtbench: {tmp_path}/{package}.py has the name of a package of rtbench: "
        f"rename it to locustfile.py, or to anything but {package}.py"
    )


def test_the_hook_leaves_other_errors_to_the_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: shown.append(error))
    monkeypatch.setitem(sys.modules, "reports", ModuleType("reports"))
    with pytest.raises(ImportError):
        rtbench.__getattr__("load")
    sys.excepthook(ValueError, error := ValueError("x"), None)

    assert shown == [error]


def test_a_user_s_package_with_the_name_of_ours_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = ModuleType("reports")
    theirs.__path__ = [str(tmp_path / "reports")]
    monkeypatch.setitem(sys.modules, "reports", theirs)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(rtbench.UnusableError):
        rtbench.__getattr__("load")


def test_a_command_reports_a_file_with_the_name_of_our_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = ModuleType("scenarios")
    theirs.__file__ = "/x/scenarios.py"
    monkeypatch.setitem(sys.modules, "scenarios", theirs)
    with pytest.raises(SystemExit) as ended:
        importlib.reload(importlib.import_module("rtbench.cli"))

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("rtbench: /x/scenarios.py has the name of a package")
