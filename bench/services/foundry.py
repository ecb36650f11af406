"""Voice agents of Azure Foundry (preview): their dialects, their paths at Azure, and the remedies
for their refusals.

Paths, header, scope and events are those of azure-ai-projects 2.10 (`_realtime.py`), refusals and
the path of GPT-Live those of Microsoft's "Voice agent WebSocket API reference", November 2026.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import unquote

from bench.files.sanitize import excerpt
from bench.files.values import get_object, object_in
from bench.services.gpt_live.dialect import GptLive
from bench.services.gpt_live.events import DECODERS, STARTED, LiveReader, Wire
from bench.services.openai.dialect import GA_NAME, Ga, ga_format
from bench.services.voice_live import FOUNDRY_SCOPE, OF_VOICE_LIVE
from bench.wire.audio import PCM16, by_name
from bench.wire.dialect import AwaitedEvent, ClientMessage
from bench.wire.events import ErrorScope, EventKind, ServerEvent, ServiceFailure
from bench.wire.service import NAME, RefusedRequest, Route
from bench.wire.settings import SessionSettings, UnsupportedSetting

OPT_IN = ("Foundry-Features", "VoiceAgents=V1Preview")
PATH = f"/api/projects/{NAME}/agents/{NAME}/endpoint/protocols/voice"
WEBRTC = "whose messages offer calls over WebRTC, which this tool does not have: remove it"
PCM = ga_format(PCM16)
SUBAGENTS = dict.fromkeys(
    ("session.subagent.started", "session.subagent.completed", "session.subagent.aborted"),
    EventKind.NOTED,
)


class Foundry(Ga):
    """A voice agent. It has the sessions of GA, and further events of Voice Live."""

    name = "foundry"
    family = GA_NAME
    own_kinds = MappingProxyType(OF_VOICE_LIVE | SUBAGENTS)


def _started(wire: Wire) -> Sequence[ServerEvent]:
    """Return the events of a session that the service started, unless its audio is unreadable."""
    format = get_object(get_object(object_in(wire.session), "audio"), "format")
    kind = format.get("type", PCM["type"]), format.get("rate", PCM["rate"])
    if kind == tuple(PCM.values()):
        return DECODERS[STARTED](wire)
    found = excerpt(f"{kind[0]} of {kind[1]} Hz")
    detail = f"the agent has {found}, but only PCM of {PCM16.rate_hz} Hz is expected"
    failure = ServiceFailure("media_type", "media_type", detail, effect=ErrorScope.FATAL)
    return (ServerEvent(EventKind.ERROR, STARTED, failure=failure),)


class FoundryLiveReader(LiveReader):
    __slots__ = ()

    decoders = MappingProxyType({**DECODERS, STARTED: _started})


class FoundryLive(GptLive):
    """A voice agent with GPT-Live. The service itself starts the session, with the settings of
    the agent.
    """

    name = "foundry-live"
    reader = FoundryLiveReader
    input_formats = output_formats = by_name(PCM16)
    title = "a voice agent with GPT-Live"
    settings = frozenset({"output", "turn_detection", "input_format", "output_format", "tools"})

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        return None

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        return (AwaitedEvent(EventKind.SESSION_UPDATED, STARTED),)


def explain(refused: RefusedRequest) -> str:
    """Return the remedy for a refusal of a voice agent; "" if it is not known."""
    project, agent = (unquote(part) for part in refused.path.split("/")[3:6:2])
    match refused.status:
        case 401 if refused.signed != "entra":
            return "voice agents accept only tokens of Entra ID, no keys: set `auth: entra`"
        case 404:
            return (
                f"the project {project} has no voice agent {agent}: compare the URL with `azd ai"
                " agent endpoint show`"
            )
        case 409 if "agent_disabled" in refused.message:
            return (
                f"the agent {agent} is disabled, and refuses all sessions: enable it in the project"
                f" {project}"
            )
    return ""


def _route(path: str, dialect: Foundry | FoundryLive, title: str) -> Mapping[str, Route]:
    route = Route(
        path,
        dialect,
        title=title,
        headers=(OPT_IN,),
        scope=FOUNDRY_SCOPE,
        roles=("Foundry User", "Azure AI User"),  # the name until 2026
        is_unique=True,
        refused={("transport", "webrtc"): WEBRTC},
        explain=explain,
    )
    return {"azure": route}


ROUTES = _route(PATH, Foundry(), "Foundry's voice agents")
LIVE_ROUTES = _route(f"{PATH}/live/sessions", FoundryLive(), "Foundry's GPT-Live agents")
