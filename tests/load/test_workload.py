"""The scripts of a run, and the checks of these scripts before the first session."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from bench.base.errors import ScriptError, UsageError
from bench.catalogue.metrics import TURN_TYPES
from bench.catalogue.pricing import Prices
from bench.catalogue.timeouts import Timeouts
from bench.load.planning.cost_estimate import SessionCost
from bench.load.planning.lacking import MISSING_FEATURES, _of_session, _of_turn, missing_features
from bench.load.planning.run_plan import Concurrency, check_cost, check_descriptors, check_shares
from bench.load.planning.tasks import as_sessions, script, tasks_of
from bench.load.planning.workload import (
    drop_classes_without_tasks,
    encode_workload,
    load_scripts,
    longest_turn_s,
    script_facts,
    script_notices,
    target_facts,
    workloads_of_targets,
)
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import Script, load_script
from bench.plan.steps import SoundSettings, SoundStep
from bench.plan.turn_plan import InterruptTrigger
from bench.plan.turns import AudioTurn
from bench.record.folder import SCHEMAS
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS, links_of
from bench.services.telephone import TELEPHONE
from bench.target.target import Credential, EntraSignIn, Target
from bench.transport.interface import NetworkPath, Proxy
from bench.wire.dialect import Dialect
from bench.wire.settings import TurnDetection
from tests.helpers import MS, resolve_target, say
from tests.load.actors import Actor, actor, tone
from tests.simulator_process import AUDIO
from tests.talking import (
    HALTING,
    SPEECH,
    VAD,
    Talked,
    converse,
    over_reply,
    recording,
    sound,
    speak,
)

HERE = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=x")
THERE = resolve_target({}, url="wss://example.com/openai/v1/realtime?model=x")


def talk(folder: Path, text: str = "steps:\n  - text: Hello\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "talk.yaml").write_text(text)
    return folder / "talk.yaml"


def order(actor: Actor) -> None:
    actor.text("A pizza for ${name}, please", name="order")


def pay(actor: Actor) -> None:
    actor.text("Here you are", name="pay")


class MisspelledSettings(Actor):
    declared_tasks = tasks = tuple(as_sessions([pay]))
    given: ClassVar[Mapping[str, Any]] = {"session": {"voic": "alloy"}}


LINE = next(
    n
    for n, line in enumerate(Path(__file__).read_text().splitlines(), 1)
    if line.startswith("class MisspelledSettings")
)


def plays_of(*classes: type) -> list[CompiledScript]:
    return list(encode_workload(load_scripts(classes), GA).values())


def test_a_remote_host_gets_at_most_20_sessions_without_the_option_yes() -> None:
    assert check_cost([THERE, HERE], 5, None, [], yes=False) == 20
    assert check_cost([THERE], 5, 8, [], yes=False) == 8
    assert check_cost([THERE], 50, None, [], yes=True) is None
    for users, sessions in ((21, None), (5, 21)):
        with pytest.raises(UsageError, match="--yes"):
            check_cost([THERE], users, sessions, [], yes=False)


def test_a_run_that_needs_the_option_yes_states_what_it_costs() -> None:
    costs = [
        SessionCost(
            "there",
            "gpt-realtime",
            (0.01, 0.07),
            "prices of a day",
            has_audio=True,
            transcribed=False,
        )
    ]

    with pytest.raises(
        UsageError, match=r"may cost money \(about 0.40 to 2.80 USD for 40 sessions\): add --yes"
    ):
        check_cost([THERE], 4, 40, costs, yes=False)


def test_every_process_needs_a_user_and_a_session() -> None:
    check_shares(Concurrency(2, 1, 2), 2)
    check_shares(Concurrency(1, 1, 2), None)
    with pytest.raises(
        UsageError, match="2 processes with --sessions need at least 2 users and sessions"
    ):
        check_shares(Concurrency(1, 1, 2), 5)


def test_the_soft_limit_of_descriptors_is_raised_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    check_descriptors(Concurrency(1, 2, 1), [HERE])
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
    if hard != resource.RLIM_INFINITY:
        with pytest.raises(UsageError, match="ulimit -n"):
            check_descriptors(Concurrency(hard // 2 + 1, 2, 1), [HERE])


def test_a_script_is_prepared_once_for_several_users(tmp_path: Path) -> None:
    one, other = (actor(name, script(talk(tmp_path))) for name in ("One", "Other"))
    plays = encode_workload(load_scripts([one, other, object]), GA)

    assert [user for user, _ in plays] == [one, other]
    assert len({id(play) for play in plays.values()}) == 1
    assert longest_turn_s(play.script for play in plays.values()) == 300 + 5


def test_targets_with_equal_settings_share_a_prepared_script(tmp_path: Path) -> None:
    quick = replace(
        HERE, label="quick", session={"voice": "verse"}, session_source="targets.yaml:3"
    )
    preview = replace(HERE, label="preview", dialect=PREVIEW)
    parts = load_scripts([actor("One", script(talk(tmp_path)))])
    targets = workloads_of_targets(parts, [HERE, replace(HERE, label="twin"), quick, preview])

    one, twin, varied, other = (next(play for play in plays.values()) for plays in targets.values())
    assert list(targets) == [HERE.label, "twin", "quick", "preview"]
    assert one is twin
    assert (varied.script.session.voice, one.script.session.voice) == ("verse", None)
    assert other.dialect is PREVIEW


def test_targets_of_one_run_have_chunks_of_one_duration_unless_the_script_sets_it(
    tmp_path: Path,
) -> None:
    """RTP prescribes 20 ms. Otherwise, the end of speech reaches the other target up to 100 ms
    later.
    """
    both = [HERE, replace(HERE, label="webrtc", dialect=DIALECTS["ga-webrtc"])]
    turn = (
        "session: {turn_detection: server_vad}\nsteps:\n  - audio:"
        f" {AUDIO / 'order_number.wav'}\n"
    )

    def chunks_ms(text: str, targets: list[Target]) -> list[int]:
        parts = load_scripts([actor("One", script(talk(tmp_path, text)))])
        return [fact["chunk_ms"] for fact in script_facts(workloads_of_targets(parts, targets))]

    assert chunks_ms(turn, [HERE]) == [100]
    assert chunks_ms(turn, both) == [20, 20]
    assert chunks_ms(f"{turn}    chunk_ms: 40\n", both) == [40, 20]


@pytest.mark.parametrize("changes", [False, True])
def test_run_json_has_the_settings_that_the_service_should_confirm(
    tmp_path: Path, changes: bool
) -> None:
    """Without texts. Not if a step of the script changes them later."""
    update = "  - send: {type: session.update, session: {audio: {output: {voice: cedar}}}}\n"
    text = (
        "session: {voice: verse, instructions: Be brief., turn_detection: none}\nsteps:\n"
        f"  - text: Hello\n{update if changes else ''}"
    )
    parts = load_scripts([actor("One", script(talk(tmp_path, text)))])
    (fact,) = script_facts(workloads_of_targets(parts, [HERE]))

    audio = {
        "input": {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None},
        "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "verse"},
    }
    requested = {"type": "realtime", "output_modalities": ["audio"], "audio": audio}
    assert fact["requested_settings"] == ({} if changes else requested)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_facts_of_a_script_are_known_for_each_service(tmp_path: Path, dialect: str) -> None:
    """The set-up of a service may be an object, a list of objects, or nothing."""
    spoken = f"steps: [{{audio: {AUDIO / 'order_number.wav'}}}]\n"
    parts = load_scripts([actor("One", script(talk(tmp_path, spoken)))])
    target = replace(HERE, dialect=DIALECTS[dialect])
    facts: list[Any] = []
    for detection in ("server_vad", "semantic_vad", "full_duplex", "none"):
        session = {"turn_detection": detection}
        with suppress(UsageError):
            facts += script_facts(workloads_of_targets(parts, [replace(target, session=session)]))

    assert facts
    assert all(isinstance(fact["requested_settings"], dict) for fact in facts)


def test_an_unsupported_setting_of_a_variant_is_refused_with_its_line(tmp_path: Path) -> None:
    warm = replace(HERE, session={"temperature": 0.8}, session_source="targets.yaml:3")

    with pytest.raises(
        UsageError, match=r"^targets\.yaml:3: talk: temperature needs the preview dialect"
    ):
        workloads_of_targets(load_scripts([actor("One", script(talk(tmp_path)))]), [warm])


def test_the_longest_turn_is_the_longest_speech_plus_timeouts(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav", 0.5)
    tone(tmp_path / "b.wav", 2.0)
    limits = "timeouts: {turn: 7}\n"
    path = talk(tmp_path, f"{limits}steps:\n  - audio: [a.wav, b.wav]\n  - audio: a.wav\n")

    assert longest_turn_s(play.script for play in plays_of(actor("One", script(path)))) == 2 + 7 + 5


def test_two_scripts_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = (actor(name, script(talk(tmp_path / name))) for name in ("One", "Other"))

    with pytest.raises(UsageError, match="have the same name, talk"):
        load_scripts([one, other])


def test_class_settings_are_refused_if_all_scripts_are_yaml(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match="One sets session, which belongs in its YAML scripts: move it there",
    ):
        plays_of(actor("One", script(talk(tmp_path)), session={"voice": "alloy"}))


def test_the_timeouts_of_a_class_replace_those_of_its_yaml_scripts(tmp_path: Path) -> None:
    path = talk(tmp_path, "timeouts: {turn: 7}\nsteps:\n  - text: Hello\n")
    (unchanged,) = plays_of(actor("One", script(path)))
    (play,) = plays_of(actor("One", script(path), timeouts={"first_delta": 3}))

    assert play.script.digest != unchanged.script.digest

    assert play.script.timeouts == Timeouts(first_delta=3)
    classes = [actor(name, script(path), timeouts={"turn": n}) for n, name in ((1, "A"), (2, "B"))]
    with pytest.raises(UsageError, match="different timeouts in two classes"):
        plays_of(*classes)
    with pytest.raises(UsageError, match="One: first_delta must be a number"):
        plays_of(actor("One", script(path), timeouts={"first_delta": 0}))


def test_an_unknown_class_setting_is_refused_with_its_class() -> None:
    with pytest.raises(
        ScriptError,
        match=(
            rf"test_workload.py:{LINE}: MisspelledSettings: session has an unknown key 'voic';"
            r" did you"
        ),
    ):
        load_scripts([MisspelledSettings])


def test_an_unsupported_setting_of_a_python_task_is_refused() -> None:
    with pytest.raises(
        ScriptError, match=r"actors.py: Caller: temperature needs the preview dialect"
    ):
        plays_of(actor("Caller", pay, session={"temperature": 0.8}))


def test_an_unknown_variable_name_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("first_name\nAda\n")

    with pytest.raises(
        ScriptError,
        match=(
            r"test_workload.py: Caller: a text contains \$\{name\}, but the variables are only"
            r" first_name"
        ),
    ):
        load_scripts([actor("Caller", order, variables=tmp_path / "rows.csv")])


# Notices before a run about metrics for which its turns and sessions cannot have values.


TALK = {
    "typed": lambda: converse(say(), say(output="text")),
    "spoken and committed by the client": lambda: converse(speak(*SPEECH)),
    "spoken, not transcribed": lambda: converse(
        speak(*SPEECH), turn_detection=VAD, input_transcription=None
    ),
    "answered in a pause": lambda: converse(
        speak(*HALTING), speak(*SPEECH), turn_detection=TurnDetection(silence_duration_ms=200)
    ),
    "interrupted": lambda: converse(
        speak(*SPEECH),
        over_reply(speak(*SPEECH), InterruptTrigger(after_ns=300 * MS)),
        speak(*SPEECH),
        turn_detection=VAD,
    ),
    "sounds": lambda: converse(
        speak(*SPEECH),
        SoundStep(
            SoundSettings(
                kind="backchannel",
                audio=recording(sound(20, 300)),
                cue=InterruptTrigger(after_ns=200 * MS),
            )
        ),
        speak(*SPEECH),
        turn_detection=VAD,
    ),
}


def scripts_lacking(folder: Path, text: str, *, arrives: bool = False) -> Any:
    plays = encode_workload(load_scripts([actor("One", script(talk(folder, text)))]), GA)
    (repertoire,) = plays.values()
    return missing_features(repertoire, arrives=arrives)


@pytest.mark.parametrize("talk", TALK.values(), ids=TALK)
def test_instants_reported_as_lacking_are_never_observed(talk: Any) -> None:
    talked: Talked = talk()
    assert {turn.outcome for turn in talked.turns} <= {
        "ok",
        "interrupted",
        "cancelled:turn_detected",
    }

    for prepared, turn in zip(talked.script.turns, talked.turns, strict=True):
        lacks = dict(_of_turn(talked.script, prepared))
        columns = {
            name
            for name in lacks
            if getattr(turn, name, None) is not None and name not in ("task_success",)
        }
        turn_type = {f"turn_type:{name}" for name in (turn.turn_type or "").split("+")}
        assert not lacks.keys() & (turn.instants.keys() | columns | turn_type)
    assert (
        not dict(_of_session(talked.script, arrives=False)).keys() & talked.session.instants.keys()
    )


def test_names_of_lacking_data_are_row_columns() -> None:
    known = {*SCHEMAS["turns"].names, *(f"turn_type:{name}" for name in TURN_TYPES), "gaps_ns"}

    for lack in MISSING_FEATURES:
        assert {name if name in known else f"{name}_at_ns" for name in lack.names} <= known, (
            lack.reason
        )


def test_data_that_a_script_produces_is_not_listed_as_lacking(tmp_path: Path) -> None:
    (tmp_path / "before.jsonl").write_text('{"role": "user", "text": "Hello"}\n')
    session = "{turn_detection: {type: server_vad, idle_timeout_ms: 6000}}"
    text = f"session: {session}\nhistory: before.jsonl\nrenew_after: 60\nreconnect: {{}}\nsteps:\n"
    text += "  - text: One\n"
    found = scripts_lacking(tmp_path, text, arrives=True)

    assert found["session"].keys() == {"greeting_audible", "mcp_listed"}
    assert "speech_end" in found["turns"][0]["lacks"]


def test_a_text_script_lacks_first_audible(tmp_path: Path) -> None:
    found = scripts_lacking(tmp_path, "session: {output: text}\nsteps:\n  - text: One\n")

    assert found["session"]["first_audible"] == "replies are text (`output`)"


WORDS = {"input_word_errors", "input_words", "input_characters"}


def test_a_turn_has_the_words_that_any_of_its_sessions_has(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        tone(tmp_path / name)
    transcribed = "session: {input_transcription: {model: whisper-1}}\n"
    loaded = load_script(talk(tmp_path, f"{transcribed}steps:\n  - audio: [a.wav, b.wav]\n"))
    (turn,) = loaded.steps
    assert isinstance(turn, AudioTurn)
    silent, spoken = turn.audio
    said = replace(turn, audio=(silent, replace(spoken, text="hello")))

    def lacks(step: Any) -> set[str]:
        found = missing_features(CompiledScript(replace(loaded, steps=(step,)), GA), arrives=False)
        assert found is not None
        return found["turns"][0]["lacks"].keys() & WORDS

    assert lacks(turn) == WORDS
    assert not lacks(said)


def test_a_script_with_custom_events_has_no_list_of_lacking_data(tmp_path: Path) -> None:
    assert (
        scripts_lacking(tmp_path, "steps:\n  - text: One\n  - send: {type: response.cancel}\n")
        is None
    )
    assert (
        scripts_lacking(tmp_path, "steps:\n  - text: One\n  - message: {role: user, text: Two}\n")
        is not None
    )


def test_a_python_task_has_no_list_of_lacking_data(tmp_path: Path) -> None:
    def order(caller: Any) -> None:
        caller.text("Hello")

    (repertoire,) = encode_workload(load_scripts([actor("One", order)]), GA).values()

    assert missing_features(repertoire, arrives=False) is None


# The description of targets and scripts in run.json, before the first session.


def played_by(*classes: type) -> list[Script]:
    return list(load_scripts(classes).values())


def facts(*classes: type) -> list[dict[str, Any]]:
    return script_facts({"here": encode_workload(load_scripts(classes), GA)})


def test_placeholders_in_a_script_without_variables_give_notices(tmp_path: Path) -> None:
    path = talk(tmp_path, "steps:\n  - text: 'Ask ${name} for ${price}.'\n")
    notices = script_notices(
        played_by(actor("One", script(path)), actor("Other", script(path)), actor("Caller", pay))
    )

    assert notices == [
        f"talk: text contains ${{{name}}}, but the script has no variables: it is sent unchanged"
        for name in ("name", "price")
    ]


@pytest.mark.parametrize(
    ("session", "notices"),
    [
        (
            "{}",
            [
                "talk: `transcript` cannot be checked, because session.input_transcription is"
                " not set"
            ],
        ),
        ("{input_transcription: whisper-1}", []),
    ],
)
def test_a_transcript_that_cannot_be_checked_gives_a_notice(
    session: str, notices: list[str], tmp_path: Path
) -> None:
    tone(tmp_path / "a.wav")
    path = talk(tmp_path, f"session: {session}\nsteps:\n  - {{audio: a.wav, transcript: Hello}}\n")

    assert script_notices(played_by(actor("One", script(path)))) == notices


def test_facts_of_a_script_have_its_audio_settings(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    (tmp_path / "rows.csv").write_text("name\nAda\nBob\n")
    path = talk(
        tmp_path,
        "session: {turn_detection: semantic_vad, input_format: g711_ulaw, output_format:"
        " g711_alaw}\nvariables: rows.csv\nbackground_noise: {file: a.wav, snr_db:"
        " 15}\njitter_buffer_ms: 80\nsteps:\n  - audio: a.wav\n    chunk_ms: 40\n  - text: Hello\n "
        "   output: text\n",
    )
    (fact,) = facts(actor("One", script(path)))

    assert fact["turn_detection_settings"] == {"type": "semantic_vad"}
    assert {
        key: fact[key]
        for key in ("turn_detection", "input_format", "output_format", "jitter_buffer_ms")
    } == {
        "turn_detection": "semantic_vad",
        "input_format": "g711_ulaw",
        "output_format": "g711_alaw",
        "jitter_buffer_ms": 80,
    }
    assert (fact["background_snr_db"], fact["variables"]) == (15, 2)
    assert (fact["turns"], fact["chunk_ms"], fact["output"]) == (2, 40, "audio")
    assert fact["plan"] == [
        {"step": "turn_1", "measured_from": "speech_end", "greeting": False},
        {"step": "turn_2", "measured_from": "request_sent", "greeting": False},
    ]


def test_facts_of_a_script_have_its_think_time_if_it_ends(tmp_path: Path) -> None:
    def talk_on(actor: Actor) -> None:
        while True:
            actor.text("Hello")
            actor.pause(1)

    path = talk(
        tmp_path, "steps:\n  - text: Hello\n  - pause: 0.5\n  - pause: {median: 2, sigma: 0.5}\n"
    )
    of_plays = facts(actor("One", script(path)), actor("Payer", pay), actor("Talker", talk_on))

    assert [fact["think_s"] for fact in of_plays] == [2.766, 0, None]


def test_facts_have_the_merged_extra_settings(tmp_path: Path) -> None:
    path = talk(tmp_path, "session: {extra: {a: {b: 1}}}\nsteps:\n  - text: Hello\n")
    parts = load_scripts([actor("One", script(path))])
    varied = encode_workload(parts, GA, {"extra": {"a": {"c": None}}}, "targets.yaml:3")

    assert [
        fact["extra"]
        for fact in script_facts({"here": encode_workload(parts, GA), "there": varied})
    ] == [
        {"a": {"b": 1}},
        {"a": {"b": 1, "c": None}},
    ]


def test_a_script_has_facts_for_each_target(tmp_path: Path) -> None:
    parts = load_scripts([actor("One", script(talk(tmp_path)))])
    quick = encode_workload(parts, GA, {"turn_detection": "server_vad"}, "targets.yaml:3")
    of_plays = script_facts({"here": encode_workload(parts, PREVIEW), "there": quick})

    assert [(fact["target"], fact["dialect"], fact["turn_detection"]) for fact in of_plays] == [
        ("here", "preview", "none"),
        ("there", "ga", "server_vad"),
    ]


def test_facts_of_a_target_contain_no_secret() -> None:
    proxy = Proxy("http", "proxy.example", 8080, "ann-of-the-proxy", "hush-hush")
    secretive = replace(
        HERE,
        auth=Credential("api-key", "sk-secret-key"),
        headers=(("x-tenant", "confidential"),),
        network_path=NetworkPath(proxy=proxy, address="127.0.0.1", deflate=True),
        prices=Prices(1, 2, 3, 4, 5, 6),
        session={"voice": "verse"},
        variant_of="west",
    )
    fact = target_facts(secretive, 30.0)

    assert not any(
        secret in repr(fact)
        for secret in ("sk-secret-key", "confidential", "hush-hush", "ann-of-the-proxy")
    )
    assert (fact["auth"], fact["proxy"]) == ("key", "http://proxy.example:8080")
    assert (fact["address"], fact["deflate"], fact["connect_rate"]) == ("127.0.0.1", True, 30.0)
    assert fact["prices"]["audio_output"] == 6
    assert (fact["variant_of"], fact["session"]) == ("west", {"voice": "verse"})


@pytest.mark.parametrize(
    ("dialect", "srtp", "fact"),
    [(TELEPHONE, True, True), (TELEPHONE, False, False), (GA, False, None)],
)
def test_the_facts_of_a_telephone_say_whether_its_audio_is_encrypted(
    dialect: Dialect, srtp: bool, fact: bool | None
) -> None:
    target = replace(
        HERE, dialect=dialect, link=links_of(dialect)[0], network_path=NetworkPath(srtp=srtp)
    )

    assert target_facts(target, None)["srtp"] is fact


def test_the_auth_of_a_target_has_the_name_of_its_option() -> None:
    chain, identity = EntraSignIn("scope"), EntraSignIn("scope", "managed_identity")

    assert [
        target_facts(replace(HERE, auth=auth), None)["auth"] for auth in (None, chain, identity)
    ] == [
        None,
        "entra",
        "managed_identity",
    ]


def tagged(task: Any, *tags: str) -> Any:
    task.locust_tag_set = set(tags)
    return task


def environment_of(*classes: Any, **options: list[str]) -> Any:
    """Return an environment whose filter has the effect of Locust's filter."""
    parsed = SimpleNamespace(**{"tags": None, "exclude_tags": None} | options)
    tags, without = set(parsed.tags or ()), set(parsed.exclude_tags or ())

    def stays(task: Any) -> bool:
        own: set[str] = getattr(task, "locust_tag_set", set())
        return bool((not tags or own & tags) and not own & without)

    def filter_tasks() -> None:
        for user in classes:
            user.tasks = [task for task in user.tasks if stays(task)]

    made = SimpleNamespace(
        user_classes=list(classes), available_user_tasks=None, parsed_options=parsed
    )
    made._filter_tasks_by_tags = filter_tasks
    return made


def test_a_class_without_a_task_for_the_tags_gets_no_users_and_other_tasks_are_not_planned() -> (
    None
):
    typed, paying = actor("Typed", tagged(lambda user: order(user), "a"), pay), actor("Paying", pay)
    environment = environment_of(typed, paying, tags=["a"])

    assert drop_classes_without_tasks(environment) == [
        "Paying gets no users, because --tags a leaves it no task"
    ]
    assert environment.user_classes == [typed]
    assert len(tasks_of(typed)) == 1
    assert drop_classes_without_tasks(environment) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [({"tags": ["nope"]}, "--tags nope"), ({"exclude_tags": ["a", "b"]}, "--exclude-tags a b")],
)
def test_tags_that_leave_no_task_are_refused_in_one_line(
    options: dict[str, list[str]], named: str
) -> None:
    classes = [
        actor(name, tagged(lambda user: pay(user), tag)) for name, tag in (("A", "a"), ("B", "b"))
    ]

    with pytest.raises(UsageError, match=f"{named} leaves no task in A, B"):
        drop_classes_without_tasks(environment_of(*classes, **options))


def test_a_class_that_declares_no_task_is_not_blamed_on_the_tags() -> None:
    assert drop_classes_without_tasks(environment_of(actor("Own"), tags=["a"])) == []
