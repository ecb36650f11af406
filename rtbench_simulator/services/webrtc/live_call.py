"""A call of the simulator as GPT-Live. Its offer has the settings of the session."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from rtbench_simulator.server_events import Json
from rtbench_simulator.services.gpt_live.session_form import OFFERED
from rtbench_simulator.services.webrtc.call import CallRequest
from rtbench_simulator.services.webrtc.live_session import LiveCallSession
from rtbench_simulator.services.webrtc.output_buffer import OutputBuffer
from rtbench_simulator.services.webrtc.service_call import ServiceCall
from rtbench_simulator.session.checks import EventValue
from rtbench_simulator.simulated_session import SessionParts


class _Offer(msgspec.Struct, tag="webrtc"):
    sdp: str


class _Creation(msgspec.Struct):
    session: Json
    transport: _Offer


class LiveCall(ServiceCall):
    """A call from the request of its session to its end.

    The constructor raises one of `NOT_JSON`, ValueError or RejectedError if the request is not
    acceptable.
    """

    def __init__(self, request: CallRequest) -> None:
        creation = msgspec.json.decode(request.offer, type=_Creation)
        self._settings = OFFERED.read(EventValue("session", creation.session))
        super().__init__(request._replace(offer=creation.transport.sdp.encode()))
        self._parts = request.shared.next_session()

    def response(self, call_id: str) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        transport = {"type": "webrtc", "sdp": self.description.decode()}
        answer = {"session": {"id": self._parts.ids.session}, "transport": transport}
        return HTTPStatus.CREATED, msgspec.json.encode(answer), {"Content-Type": "application/json"}

    def _session_parts(self) -> SessionParts:
        return self._parts

    def _track_session(self, parts: SessionParts, buffer: OutputBuffer) -> LiveCallSession:
        return LiveCallSession(parts, self._settings, self._codec.audio, buffer)
