"""Configurations of a target that are refused: those of `refused.txt`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from tests.target.azure import AZURE, KEY

TABLE = Path(__file__).with_name("refused.txt").read_text(encoding="utf-8")
ROWS = [row for row in TABLE.split("\n\n") if not row.startswith("#")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.partition("\n")[0])
def test_a_configuration_is_refused_in_one_line_with_a_remedy_and_without_a_key(
    row: str, tmp_path: Path
) -> None:
    words, *lines = row.splitlines()
    path: Path | None = None
    environ, options = dict[str, str](), dict[str, Any]()
    for line in map(str.strip, lines):
        name, _, given = re.split(r"([ =])", f"{line} ", maxsplit=1)
        given = given.removesuffix(" ")
        given = json.loads(given) if given.startswith('"') else given
        if name == "|":
            path = tmp_path / "targets.yaml"
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{line[2:]}\n")
        elif name == "azure":
            environ |= AZURE
        elif name.startswith("--"):
            options[name[2:].replace("-", "_")] = given
        else:
            environ[name] = given
    names = tuple(options.pop("targets").split(",")) if "targets" in options else ()

    with pytest.raises(UsageError) as caught:
        resolve_targets(environ, ServiceOptions(targets=names, target_file=path, **options))
    message = re.sub(
        r"(targets\.yaml:\d+):\d+", r"\1", str(caught.value).replace(f"{tmp_path}/", "")
    )
    assert message.isprintable()
    assert KEY not in message
    assert re.match(".*".join(map(re.escape, words.split("… "))), message)
