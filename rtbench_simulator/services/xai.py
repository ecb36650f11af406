"""xAI: the events of GA. The voice and turn detection are at the top level of the session."""

from dataclasses import replace
from functools import cache
from typing import Any

from bench.services.openai.dialect import RATED_FORMATS
from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.server_events import GA, Json
from rtbench_simulator.services.openai import PATH, ga_form
from rtbench_simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest
from rtbench_simulator.session import checks, session_schema
from rtbench_simulator.session.checks import SettingTable
from rtbench_simulator.session.effective import SessionForm


@cache
def xai_form(dialect: WireDialect) -> SessionForm:
    """Return the form of GA with voice and turn detection at the top level, not inside `audio`."""
    ga = ga_form(dialect)
    audio: Any = ga.table["audio"]
    inside = {
        direction: {
            key: check
            for key, check in audio[direction].items()
            if key not in ("turn_detection", "voice")
        }
        for direction in ("input", "output")
    }
    only_functions: SettingTable = {
        "tools": session_schema.TOOLS,
        "tool_choice": session_schema.TOOL_CHOICE,
    }
    return replace(
        ga,
        opened=lambda new: _risen(ga.opened(new)),
        table={
            **ga.table,
            "audio": inside,
            "turn_detection": audio["input"]["turn_detection"],
            "voice": checks.TEXT,
            **only_functions,
        },
        input=lambda session: ga.input(_sunk(session)),
        output=lambda session, response: ga.output(_sunk(session), response),
        response={**(ga.response or {}), **only_functions},
    )


# `_risen` and `_sunk` are inverse: the form shows two settings at the top, and all code that reads
# a session finds them where GA has them.
def _risen(session: Json) -> Json:
    input_settings = dict(session["audio"]["input"])
    output_settings = dict(session["audio"]["output"])
    top = {
        "turn_detection": input_settings.pop("turn_detection"),
        "voice": output_settings.pop("voice"),
    }
    return session | {"audio": {"input": input_settings, "output": output_settings}} | top


def _sunk(session: Json) -> Json:
    input_settings = session["audio"]["input"] | {"turn_detection": session["turn_detection"]}
    return session | {
        "audio": {
            "input": input_settings,
            "output": session["audio"]["output"] | {"voice": session["voice"]},
        }
    }


XAI = WireDialect("xai", GA, xai_form, tuple(RATED_FORMATS), "conversation.created")


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    is_ours = request.path == PATH and request.model.startswith("grok-")
    return AcceptedUpgrade(XAI, request.model) if is_ours else None


SERVICE = SimulatedService(_answer, refusal_form="event")
