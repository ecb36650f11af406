"""What is played, and the checks before the first session."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.errors import ScriptError, UsageError
from bench.load.planning.planned import Concurrency, check_cost, check_descriptors, check_shares
from bench.load.planning.plays import loaded_scripts, longest_turn_s, plays_of_arms, prepared_plays
from bench.load.planning.tasks import MAX_REHEARSED, as_sessions, script
from bench.plan.repertoire import Repertoire
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from tests.helpers import resolve_target
from tests.load.actors import Actor, actor, tone

HERE = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=x")
THERE = resolve_target({}, url="wss://example.com/openai/v1/realtime?model=x")


def talk(
    folder: Path, text: str = "timeouts: {end_of_turn: 1, first_delta: 3, response: 7}\nsteps:\n  - text: Hello\n"
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "talk.yaml").write_text(text)
    return folder / "talk.yaml"


def order(actor: Actor) -> None:
    actor.text("A pizza for ${name}, please", name="order")


def pay(actor: Actor) -> None:
    actor.text("Here you are", name="pay")


class Shy(Actor):
    declared_tasks = tuple(as_sessions([pay]))
    given: ClassVar[Mapping[str, Any]] = {"session": {"voic": "alloy"}}


LINE = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.startswith("class Shy"))


def plays_of(*classes: type) -> list[Repertoire]:
    return list(prepared_plays(loaded_scripts(classes), GA).values())


def test_ones_own_host_gets_as_many_sessions_as_are_wanted() -> None:
    assert check_cost([HERE], 500, None, yes=False) is None
    assert check_cost([HERE, HERE], 500, 900, yes=False) == 900


def test_someone_elses_host_gets_twenty_sessions_unless_more_are_meant() -> None:
    assert check_cost([THERE, HERE], 5, None, yes=False) == 20
    assert check_cost([THERE], 5, 8, yes=False) == 8
    assert check_cost([THERE], 50, None, yes=True) is None
    for users, sessions in ((21, None), (5, 21)):
        with pytest.raises(UsageError, match="--yes"):
            check_cost([THERE], users, sessions, yes=False)


def test_sessions_of_all_arms_at_one_host_are_counted_together() -> None:
    both = [THERE, replace(THERE, label="variant")]

    assert check_cost(both, 5, None, yes=False) == 10
    assert check_cost([*both, HERE, HERE, HERE], 10, 10, yes=False) == 10
    assert check_cost([THERE, replace(THERE, host="elsewhere")], 20, None, yes=False) == 20
    with pytest.raises(UsageError, match=r"more than 20 sessions to example\.com"):
        check_cost(both, 5, 11, yes=False)


def test_every_process_needs_a_user_and_a_session() -> None:
    check_shares(Concurrency(2, 1, 2), 2)
    check_shares(Concurrency(1, 1, 2), None)
    with pytest.raises(UsageError, match="2 processes with --sessions need at least 2 users and sessions"):
        check_shares(Concurrency(1, 1, 2), 5)


def test_the_soft_limit_of_descriptors_is_raised_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    check_descriptors(Concurrency(1, 2, 1))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
    if hard != resource.RLIM_INFINITY:
        with pytest.raises(UsageError, match="ulimit -n"):
            check_descriptors(Concurrency(hard // 2 + 1, 2, 1))


def test_one_script_is_prepared_once_for_all_who_play_it(tmp_path: Path) -> None:
    one, other = (actor(name, script(talk(tmp_path))) for name in ("One", "Other"))
    plays = prepared_plays(loaded_scripts([one, other, object]), GA)

    assert [user for user, _ in plays] == [one, other]
    assert len({id(play) for play in plays.values()}) == 1
    assert longest_turn_s(play.script for play in plays.values()) == 300 + 5


def test_arms_share_what_is_prepared_where_they_say_the_same(tmp_path: Path) -> None:
    quick = replace(HERE, label="quick", session={"voice": "verse"}, session_source="targets.yaml:3")
    preview = replace(HERE, label="preview", dialect=PREVIEW)
    parts = loaded_scripts([actor("One", script(talk(tmp_path)))])
    arms = plays_of_arms(parts, [HERE, replace(HERE, label="twin"), quick, preview])

    one, twin, varied, other = (next(play for play in plays.values()) for plays in arms.values())
    assert list(arms) == [HERE.label, "twin", "quick", "preview"]
    assert one is twin
    assert (varied.script.session.voice, one.script.session.voice) == ("verse", None)
    assert other.dialect is PREVIEW


def test_a_setting_of_a_variant_that_its_dialect_lacks_is_refused_at_its_line(tmp_path: Path) -> None:
    warm = replace(HERE, session={"temperature": 0.8}, session_source="targets.yaml:3")

    with pytest.raises(UsageError, match=r"^targets\.yaml:3: talk: temperature needs the preview dialect"):
        plays_of_arms(loaded_scripts([actor("One", script(talk(tmp_path)))]), [warm])


def test_the_longest_turn_is_the_longest_speech_and_what_may_follow(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav", 0.5)
    tone(tmp_path / "b.wav", 2.0)
    limits = "timeouts: {turn: 7}\n"
    path = talk(tmp_path, f"{limits}steps:\n  - audio: [a.wav, b.wav]\n  - audio: a.wav\n")

    assert longest_turn_s(play.script for play in plays_of(actor("One", script(path)))) == 2 + 7 + 5


def test_two_scripts_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = (actor(name, script(talk(tmp_path / name))) for name in ("One", "Other"))

    with pytest.raises(UsageError, match="have the same name, talk"):
        loaded_scripts([one, other])


def test_every_task_of_a_class_is_played_by_its_own_name(tmp_path: Path) -> None:
    mixed = actor("Mixed", script(talk(tmp_path)), order, pay)

    assert [play.script.name for play in plays_of(mixed)] == ["talk", "Mixed.order", "Mixed.pay"]
    assert [play.script.task is None for play in plays_of(mixed)] == [True, False, False]


def test_a_class_with_one_method_gives_its_name_to_the_script() -> None:
    assert [play.script.name for play in plays_of(actor("Caller", pay))] == ["Caller"]


def test_settings_beside_yaml_scripts_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="One sets session, timeouts, which belongs in its YAML scripts: move it there"
    ):
        plays_of(actor("One", script(talk(tmp_path)), session={"voice": "alloy"}, timeouts={"response": 3}))


def test_a_setting_that_the_dialect_does_not_have_is_refused_for_a_method_too() -> None:
    with pytest.raises(ScriptError, match=r"actors.py: Caller: temperature needs the preview dialect"):
        plays_of(actor("Caller", pay, session={"temperature": 0.8}))


def test_a_setting_that_a_script_does_not_have_is_refused_at_its_class() -> None:
    with pytest.raises(ScriptError, match=rf"test_plays.py:{LINE}: Shy: session has an unknown key 'voic'; did you"):
        loaded_scripts([Shy])


def test_a_name_that_the_variables_do_not_have_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("first_name\nAda\n")

    with pytest.raises(
        ScriptError, match=r"test_plays.py: Caller: a text has \$\{name\}, the variables have only first_name"
    ):
        loaded_scripts([actor("Caller", order, variables=tmp_path / "rows.csv")])


def test_a_task_without_an_end_has_no_number_of_turns() -> None:
    def talk_on(actor: Actor) -> None:
        while True:
            actor.text("Hello")

    (endless,), (ending,) = plays_of(actor("Endless", talk_on)), plays_of(actor("Ending", pay))

    assert (endless.script.turns_planned, ending.script.turns_planned) == (None, 1)
    assert len(endless.script.steps) == MAX_REHEARSED
