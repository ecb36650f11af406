"""The response to an upgrade request, like the service's: a session, or a refusal
(docs/protocol.md, "Addresses"). Pure.

Query keys and headers that the service does not name are ignored, but some services limit the
number of custom headers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rtbench_simulator import refusals
from rtbench_simulator.faults.injection import Lacks, RefusalForm
from rtbench_simulator.refusals import PostUpgradeRefusal, RefusedUpgrade
from rtbench_simulator.serving.credentials import Authenticator, check_credentials
from rtbench_simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest

MAX_CUSTOM_HEADERS = 10
STANDARD_HEADERS = {
    "accept",
    "accept-encoding",
    "accept-language",
    "api-key",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "host",
    "origin",
    "pragma",
    "proxy-connection",
    "upgrade",
    "user-agent",
}


def admit(
    services: Iterable[SimulatedService],
    target: str,
    headers: Mapping[str, str],
    authenticator: Authenticator,
    now_s: float,
    fault: Callable[
        [RefusalForm, Lacks], RefusedUpgrade | PostUpgradeRefusal | None
    ] = lambda form, lacks: None,
) -> AcceptedUpgrade | RefusedUpgrade:
    """Return the response to an upgrade request.

    `target`: the path and query of the request line. `headers`: the headers, with names in lower
    case. `now_s`: the UTC time in seconds. `fault`: a function that returns an injected refusal,
    which replaces the normal response. It may be sent after the upgrade, as a complaint.
    """
    request = UpgradeRequest.of(target, headers)
    answers = (
        (service, answer) for service in services if (answer := service.answer(request)) is not None
    )
    # The order of the answers is that of the services: an injected refusal replaces all others,
    # then the path decides, then the number of headers, the credentials, and at last what the
    # path's own service says. A service that refuses after the upgrade (`bad_key`) accepts first,
    # and complains then.
    service, answer = next(answers, (None, refusals.NO_SUCH_PATH))
    known = service or SimulatedService()
    injected = fault(known.refusal_form, known.lacks)
    if isinstance(injected, RefusedUpgrade):
        return injected
    problem, token = check_credentials(
        authenticator, headers, request.keys(known.key_parameters), now_s
    )
    if service is None:
        return refusals.NO_SUCH_PATH
    if service.bad_key is not None and isinstance(answer, AcceptedUpgrade):
        return replace(
            answer,
            complaint=injected or (service.bad_key if problem else answer.complaint),
            token=token,
        )
    custom = sum(
        name not in STANDARD_HEADERS and not name.startswith("sec-websocket-") for name in headers
    )
    if service.limits_headers and custom > MAX_CUSTOM_HEADERS:
        return refusals.TOO_MANY_HEADERS
    return problem or (
        replace(answer, token=token) if isinstance(answer, AcceptedUpgrade) else answer
    )
