"""The list of the licences of all packages on which this package depends."""

from __future__ import annotations

from tools import licences


def test_the_licences_of_all_installed_dependencies_are_listed() -> None:
    written = licences.PAGE.read_text(encoding="utf-8")

    assert written == licences.page(), "run `make schema`"
    assert "|  |" not in written, "a package names no licence"
