"""The additions to Locust's web UI: the progress of a run, and restrictions for visitors, who may
only shape the load.

Locust accepts any of its options in the form of `/swarm`, any attribute of a user class at `/user`,
and requests from pages of other origins. Therefore requests are checked before Locust's handlers
get them.

There are two additional tabs. Below all tabs is a note about what Locust's own values pool. The
tabs use the extension points that Locust documents: `extended_tabs` and `extended_tables` of the
page, and `extended_stats` of the response that the page requests. Each tab has one table and no
chart. Latency over time is exported to OpenTelemetry instead.
"""

# A request passes several hooks before Locust's handler. `show_targets` fills the field for a host,
# and removes it from the form. `restrict_handlers` checks the origin and the host name, refuses
# changes of locked options, drops unknown fields, and then validates the rest as a new run would.
# Locust would set valid fields before it finds an invalid one, and keep them for the next run. So a
# form is accepted as a whole, or not at all.

import json
import math
import os
import socket
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, request, send_file
from werkzeug.datastructures import ImmutableMultiDict

from bench.base.errors import UsageError
from bench.base.units import byte_unit
from bench.catalogue.pricing import dollars
from bench.load.planning.run_options import LOOPBACK, SHAPE, users_of
from bench.load.runners.live_totals import LiveLatency, TargetProgress
from bench.load.runners.monitor import FAILED, UNKNOWN
from bench.load.runners.web_origin import cross_site_reason
from bench.record.document import ValidityStatus

LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost", "::1"})
"""The host names by which a browser on this machine reaches this machine."""
LOCUST_SHAPE = frozenset({"user_count", "spawn_rate", "run_time"})
READING = frozenset({"GET", "HEAD"})
CHANGING = frozenset(f"locust.{name}" for name in ("swarm", "stop", "reset_stats", "update_user"))
"""The handlers of Locust's web UI that change a run, in some versions by GET."""
PICKED = frozenset({"user_classes", "shape_class"})
"""The fields that the option `--class-picker` adds to the form."""


def live_page(environment: Any) -> Any:
    """Return a web UI for a run that is started without one. It is not served before its `start`,
    and needs `restrict_handlers`.
    """
    parsed = environment.parsed_options
    return environment.create_web_ui(
        host=_bound(parsed.web_host),
        port=parsed.web_port,
        web_base_path=parsed.web_base_path,
        web_login=parsed.web_login,
        tls_cert=parsed.tls_cert,
        tls_key=parsed.tls_key,
        delayed_start=True,
        build_path=parsed.build_path,
    )


def live_address(parsed: Any) -> str:
    """Return the address of the page of a run. Raise UsageError if it has a web UI, which shows the
    same, or if its port is in use.
    """
    if not parsed.headless:
        raise UsageError("--live is for runs without the web UI, which has the same page: omit it")
    check_port(parsed.web_host, parsed.web_port)
    scheme = "https" if parsed.tls_cert and parsed.tls_key else "http"
    host = _bound(parsed.web_host) or socket.gethostname()
    return f"{scheme}://{host}:{parsed.web_port}{parsed.web_base_path}"


def _bound(host: str) -> str:
    return "" if host == "*" else str(host)


def restrict_handlers(
    web_ui: Any, chosen: Mapping[str, Any], check: Callable[[Any], None], *, read_only: bool = False
) -> None:
    """Check each request before Locust's handlers get it.

    `chosen` are the options of this process, by name. `check` is a function that raises UsageError
    for invalid options. If `read_only`, only the requests that change nothing are answered.
    """
    allowed = SHAPE | LOCUST_SHAPE | (PICKED if web_ui.userclass_picker_is_active else frozenset())

    def admit() -> Response | None:
        # On loopback, any other host name was pointed at this address by someone else (DNS
        # rebinding). Behind a login, that does no harm.
        names = (
            frozenset() if web_ui.web_login or web_ui.host not in LOOPBACK_NAMES else LOOPBACK_NAMES
        )
        if problem := cross_site_reason(
            request.host, request.headers.get("Origin"), names, dict(request.headers)
        ):
            return make_response(problem, 403, {"Content-Type": "text/plain; charset=utf-8"})
        if read_only and (request.method not in READING or request.endpoint in CHANGING):
            return make_response("this page is read-only", 403)
        if request.endpoint == "locust.update_user":
            return make_response("user classes can only be changed in the locustfile", 403)
        if request.endpoint != "locust.swarm":
            return None
        if refused := locked_setting(request.form.items(), allowed, chosen):
            # in the format that Locust's own page shows
            return jsonify({"success": False, "message": refused})
        shape = [(name, value) for name, value in request.form.items(multi=True) if name in allowed]
        request.form = ImmutableMultiDict(shape)
        try:
            check_picked(request.form, web_ui.environment)
            check(requested_options(request.form, chosen))
        except (
            UsageError
        ) as error:  # before Locust sets anything, because its settings stay for the next run
            return jsonify({"success": False, "message": str(error)})
        return None

    web_ui.app.before_request(admit)


def show_targets(web_ui: Any, text: Callable[[], str]) -> None:
    """Show the targets of this process in the field and the header for Locust's host. A visitor
    cannot change them.

    `text` is a function that returns the targets as text. Call this before `restrict_handlers`.
    """
    shown: set[str] = set()

    def admit() -> Response | None:
        web_ui.environment.host = text()
        shown.add(web_ui.environment.host)
        if request.endpoint != "locust.swarm":
            return None
        if request.form.get("host", "") not in {"", *shown}:
            problem = (
                "the field host shows the targets: set them on the command line, with --url,"
                " --targets or --simulator"
            )
            return jsonify({"success": False, "message": problem})
        fields = request.form.items(multi=True)
        request.form = ImmutableMultiDict(
            [(name, value) for name, value in fields if name != "host"]
        )
        return None

    def explain(response: Response) -> Response:
        if request.endpoint == "locust.index" and response.mimetype == "text/html":
            response.set_data(
                response.get_data(as_text=True).replace("</body>", f"{SHOWN_TARGETS}</body>")
            )
        return response

    web_ui.app.before_request(admit)
    web_ui.app.after_request(explain)


def locked_setting(
    form: Iterable[tuple[str, str]], allowed: frozenset[str], chosen: Mapping[str, Any]
) -> str:
    """Return why a form is refused, if it changes (not only repeats) an option that visitors may
    not; otherwise "".
    """
    for name, value in form:
        own = chosen.get(name)
        own_text = "" if own is None else str(own).lower() if isinstance(own, bool) else str(own)
        if name not in allowed and name in chosen and value != own_text:
            option = f"--{name.replace('_', '-')}"
            return f"set {option} on the command line or in the environment, not in the web UI"
    return ""


def check_picked(form: ImmutableMultiDict[str, str], environment: Any) -> None:
    """Raise UsageError if the visitor picked a class that does not exist."""
    shapes = {"Default", *(environment.available_shape_classes or ())}
    for name, available in (
        ("user_classes", environment.available_user_classes or ()),
        ("shape_class", shapes),
    ):
        if unknown := next(
            (picked for picked in form.getlist(name) if picked not in available), None
        ):
            raise UsageError(
                f"{name}: {unknown:.100} does not exist; there are {', '.join(sorted(available))}"
            )


def requested_options(form: Mapping[str, str], chosen: Mapping[str, Any]) -> Namespace:
    """Return the options that Locust would set from a form. Raise UsageError if the number of
    users is invalid.
    """
    shape = {name: form[name] for name in SHAPE & form.keys()}
    options: dict[str, Any] = {
        name: value == "true" if isinstance(chosen[name], bool) else value
        for name, value in shape.items()
    }
    options |= {name: form[name] for name in ("spawn_rate", "run_time") if form.get(name)}
    if "user_count" in form:
        options["num_users"] = users_of(form["user_count"])
    return Namespace(**{**chosen, **options})


def check_port(host: str, port: int) -> None:
    """Raise UsageError if Locust's web UI cannot listen at this address. Locust itself would
    print thirty lines.
    """
    try:
        with socket.create_server((_bound(host), port)):
            pass
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UsageError(
            f"the web page cannot listen on port {port}: {reason}; set another port with --web-port"
        ) from None


def open_text(web_ui: Any) -> str:
    """Return a warning if users of other machines can use the web UI without a login; otherwise
    "".
    """
    if web_ui.web_login or web_ui.host in LOOPBACK_NAMES:
        return ""
    return (
        f"the web UI is open without a login on {web_ui.host or '*'}:{web_ui.port}: anyone with"
        " access can start runs that cost money; omit --web-host, or add --web-login"
    )


WAITS = "realtime"
SESSIONS = "realtime-sessions"
TABS = {WAITS: "Realtime latency", SESSIONS: "Realtime sessions"}
GLYPHS: dict[ValidityStatus, str] = {"valid": "✓", "invalid": "✕", "no_verdict": "?"}


def _validity(target: TargetProgress) -> str:
    """Return a text about the validity, such as `✕ INVALID: send_delay 14 ms > 10 ms.

    What to do: end other programs`.
    """
    simulated = " · SIMULATED" if target.simulated else ""
    remedy = f". What to do: {target.remedy}" if target.remedy else ""
    return f"{GLYPHS[target.validity]} {target.verdict}{simulated}{remedy}"


def _bytes(rate: float) -> str:
    size, unit = byte_unit(rate)
    return f"{rate / size:.3g} {unit}/s"


def _cell(value_ms: float | None, needs: Sequence[int] = ()) -> float | str:
    """Return a number, by which the page can sort; a text if the value is infinite, or missing
    for lack of sessions.
    """
    if value_ms is None:
        return f"n/a (needs {needs[0]} sessions)" if needs else UNKNOWN
    return FAILED if math.isinf(value_ms) else float(f"{value_ms:.3g}")


def _cost(target: TargetProgress) -> str:
    unpriced = f" ({target.unpriced} unpriced)" if target.unpriced else ""
    return ("no price known" if target.usd is None else f"{dollars(target.usd)} USD") + unpriced


LATENCY_COLUMNS: dict[str, tuple[str, Callable[[TargetProgress, LiveLatency], object]]] = {
    "target": ("target", lambda _, wait: wait.target),
    "figure": ("metric", lambda _, wait: wait.metric),
    "measured_from": ("measured from", lambda _, wait: wait.started_by),
    "p50": ("p50, ms", lambda _, wait: _cell(wait.p50_ms, wait.lacking[:1])),
    "p95": ("p95, ms", lambda _, wait: _cell(wait.p95_ms, wait.lacking[1:])),
    "turns": ("turns", lambda _, wait: wait.turns),
    "failed": ("failed turns", lambda _, wait: wait.failed),
    "verdict": ("validity so far", lambda target, _: _validity(target)),
}
SESSION_COLUMNS: dict[str, tuple[str, Callable[[TargetProgress], object]]] = {
    "target": ("target", lambda target: target.target),
    "sessions": ("active sessions", lambda target: target.sessions_open),
    "turns": ("turns", lambda target: target.turns_succeeded + target.turns_failed),
    "failed": ("failed turns", lambda target: target.turns_failed),
    "eventsin": ("events received, /s", lambda target: target.rates.events_received),
    "eventsout": ("events sent, /s", lambda target: target.rates.events_sent),
    "bytesin": ("received", lambda target: _bytes(target.rates.bytes_received)),
    "bytesout": ("sent", lambda target: _bytes(target.rates.bytes_sent)),
    "usd": ("cost", _cost),
    "load_generator": ("load generator", lambda target: target.health or "no verdict yet"),
    "verdict": ("validity so far", _validity),
}
"""The columns of the two tables: key, title, and content of a cell. The page changes keys that
are no plain words."""


def stats(targets: Sequence[TargetProgress]) -> list[dict[str, Any]]:
    """Return the rows of both tables in the format of the page. The page sorts by `name`, which
    it does not show.
    """
    rows = [(target, latency) for target in targets for latency in target.latencies]
    latencies = [
        {"name": f"{position:04}"}
        | {key: cell(target, latency) for key, (_, cell) in LATENCY_COLUMNS.items()}
        for position, (target, latency) in enumerate(rows)
    ]
    sessions = [
        {"name": target.target} | {key: cell(target) for key, (_, cell) in SESSION_COLUMNS.items()}
        for target in targets
    ]
    return [{"key": WAITS, "data": latencies}, {"key": SESSIONS, "data": sessions}]


REPORT = "realtime/report"
FIRST_TAB = (
    "<script>{ const first = new URL(location); if (!first.searchParams.has('tab')) {"
    f" first.searchParams.set('tab', '{WAITS}'); history.replaceState(null, '', first) }}"
    " }</script>"
)
"""A script that selects the tab that the page opens. It runs before Locust's script, which waits
for the whole page."""
SHOWN_TARGETS = (
    "<script>new MutationObserver(() => { const field = document.querySelector('input[name=host]');"
    " if (!field || field.readOnly) return; field.readOnly = true; const parts ="
    " field.closest('.MuiFormControl-root')?.querySelectorAll('label, legend span') ?? []; for"
    " (const part of parts) part.textContent = 'Targets (set with --url, --targets or --simulator)'"
    " }).observe(document, {childList: true, subtree: true})</script>"
)
"""A script that names Locust's field for a host after what it shows, and makes it read-only."""
NO_CONTROLS = (
    "<script>new MutationObserver(() => { for (const button of document.querySelectorAll("
    "'button, [role=tab]')) if (['edit', 'stop', 'reset', 'new', 'start'].includes("
    "button.textContent.trim().toLowerCase())) button.style.display = 'none'"
    " }).observe(document, {childList: true, subtree: true})</script>"
)
"""A script that hides Locust's buttons, which a page that only shows a run refuses."""
NOTE = (
    "<footer style='position: sticky; bottom: 0; background: inherit; font: 14px sans-serif;"
    " color: gray; padding: 8px 24px'>Statistics and Charts are Locust&rsquo;s own: a request is a"
    " turn, or a connect; a row pools all targets, origins, the warm-up, and failed turns with the"
    " time that they took; Aggregated pools turns with connects. Realtime latency shows the"
    " measured turns of each target; &infin;: a failed turn counts as infinite latency."
)
OF_REPORT = (
    f" <a href='./{REPORT}' target='_blank' style='color: inherit'>The report of the run</a> is"
    " available when the run has ended."
)


def add_tabs(
    web_ui: Any,
    base_path: str,
    targets: Callable[[], list[TargetProgress]],
    report: Callable[[], Path | None],
    *,
    read_only: bool = False,
) -> None:
    """Add the two tabs and the note to the web UI.

    `targets` is a function that returns the progress of each target. `report` is a function that
    returns the report page of the last run; None before the run has ended. If `read_only`, the page
    has no buttons that change a run.
    """
    # the page of a run ends with the run
    own = (NO_CONTROLS, NOTE) if read_only else (NOTE, OF_REPORT)
    added = f"{FIRST_TAB}{''.join(own)}</footer></body>"
    web_ui.template_args |= {
        "extended_tabs": [{"key": key, "title": title} for key, title in TABS.items()],
        "extended_tables": [
            {
                "key": key,
                "structure": [
                    {"key": column, "title": head} for column, (head, _) in columns.items()
                ],
            }
            for key, columns in ((WAITS, LATENCY_COLUMNS), (SESSIONS, SESSION_COLUMNS))
        ],
    }
    pages = Blueprint("realtime", __name__, url_prefix=base_path)

    def show_report() -> Response:
        path = report()
        if path is None:
            return make_response("no run of this process has been reported yet", 404)
        return send_file(path.resolve(), max_age=0)

    pages.add_url_rule(f"/{REPORT}", view_func=web_ui.auth_required_if_enabled(show_report))

    def extend(response: Response) -> Response:
        if request.endpoint == "locust.request_stats" and response.is_json:
            response.set_data(
                json.dumps(response.get_json() | {"extended_stats": stats(targets())})
            )
        elif request.endpoint == "locust.index" and response.mimetype == "text/html":
            response.set_data(response.get_data(as_text=True).replace("</body>", added))
        return response

    web_ui.app.register_blueprint(pages)
    web_ui.app.after_request(extend)
