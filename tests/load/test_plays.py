"""The checks before the first session."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.load.plays import check_cost, check_descriptors, check_shares, longest_turn_s, prepared_plays
from bench.target.endpoint import resolve_target

HERE = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=x")
THERE = resolve_target({}, url="wss://example.com/openai/v1/realtime?model=x")


class Talker:
    """As a Locust user that plays a script."""

    path: Path

    @classmethod
    def script_path(cls) -> Path:
        return cls.path

    @classmethod
    def scenario_name(cls) -> str:
        return "scenario"


def talker(name: str, path: Path) -> type:
    path.parent.mkdir(exist_ok=True)
    path.write_text("limits: {first_delta: 3, done: 7}\nsteps:\n  - say: " + name + "\n")
    return type(name, (Talker,), {"path": path})


def test_ones_own_host_gets_as_many_sessions_as_are_wanted() -> None:
    assert check_cost(HERE, 500, None, yes=False) is None
    assert check_cost(HERE, 500, 900, yes=False) == 900


def test_someone_elses_host_gets_twenty_sessions_unless_more_are_meant() -> None:
    assert check_cost(THERE, 5, None, yes=False) == 20
    assert check_cost(THERE, 5, 8, yes=False) == 8
    assert check_cost(THERE, 50, None, yes=True) is None
    for users, sessions in ((21, None), (5, 21)):
        with pytest.raises(UsageError, match="--yes"):
            check_cost(THERE, users, sessions, yes=False)


def test_every_process_needs_a_user_and_a_session() -> None:
    check_shares(2, 2, 2)
    check_shares(1, None, 2)
    for users, sessions in ((1, 5), (5, 1)):
        with pytest.raises(UsageError, match="--processes 2"):
            check_shares(users, sessions, 2)


def test_the_soft_limit_of_descriptors_is_raised_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    check_descriptors(1, 1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
    if hard != resource.RLIM_INFINITY:
        with pytest.raises(UsageError, match="ulimit -n"):
            check_descriptors(hard + 1, 1)


def test_one_script_is_prepared_once_for_all_who_play_it(tmp_path: Path) -> None:
    one, other = talker("One", tmp_path / "talk.yaml"), talker("Other", tmp_path / "talk.yaml")
    plays = prepared_plays([one, other, object], HERE)

    assert set(plays) == {"One", "Other"}
    assert plays["One"].script is plays["Other"].script
    assert longest_turn_s(plays) == 3 + 7 + 5


def test_two_scripts_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = talker("One", tmp_path / "a" / "talk.yaml"), talker("Other", tmp_path / "b" / "talk.yaml")

    with pytest.raises(UsageError, match="one name"):
        prepared_plays([one, other], HERE)
