"""Shows how a run stands in Locust's web UI: two tabs of its own, and below all of them what its other tabs pool.

By the points that Locust documents for it: `extended_tabs` and `extended_tables` of the page, `extended_stats` of the
answer that the page asks for every two seconds. A tab holds one table and no chart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, make_response, request, send_file

from bench.load.leading.figures import FAILED, UNKNOWN, sparkline
from bench.load.leading.tally import TargetStanding, Wait
from bench.money import dollars

WAITS, SESSIONS = "realtime", "realtime-sessions"
TABS = {WAITS: "Realtime", SESSIONS: "Realtime sessions"}
COLUMNS = {
    WAITS: {
        "target": "Target",
        "figure": "Wait",
        "origin": "Origin",
        "p50": "p50 (ms)",
        "p95": "p95 (ms)",
        "turns": "# Turns",
        "failed": "# Failed",
        "trend": "p95 of the last 100 turns, every 5 s",
    },
    SESSIONS: {
        "target": "Target",
        "sessions": "Open sessions",
        "turns": "# Turns",
        "failed": "# Failed",
        "eventsin": "Events in /s",
        "eventsout": "Events out /s",
        "bytesin": "Bytes in /s",
        "bytesout": "Bytes out /s",
        "usd": "USD",
        "harness": "Harness",
        "verdict": "Verdict of the run",
    },
}
"""The tables' columns: keys, which the page rewrites unless they are plain words, and heads."""
REPORT = "realtime/report"
NOTE = (
    "<footer style='position: sticky; bottom: 0; background: inherit; font: 14px sans-serif; color: gray; "
    "padding: 8px 24px'>"
    "Statistics and Charts are Locust&rsquo;s own: a request is a turn, or a connect; a row pools all targets, "
    "origins, the warm-up, and failed turns with the time that they took; Aggregated pools turns with connects. "
    "Realtime shows the measured turns of each target and origin; a failed turn waits without end. "
    f"<a href='./{REPORT}' target='_blank'>The report of the run</a> is there once the run has ended."
    "</footer>"
)


def add_tabs(
    web_ui: Any, base_path: str, targets: Callable[[], list[TargetStanding]], report: Callable[[], Path | None]
) -> None:
    """Add the tabs and the note to the web UI.

    `targets`: how each stands now; `report`: the page of the run that has ended, None while there is none.
    """
    web_ui.template_args |= {
        "extended_tabs": [{"key": key, "title": title} for key, title in TABS.items()],
        "extended_tables": [
            {"key": key, "structure": [{"key": column, "title": head} for column, head in columns.items()]}
            for key, columns in COLUMNS.items()
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
            response.set_data(json.dumps(response.get_json() | {"extended_stats": stats(targets())}))
        elif request.endpoint == "locust.index" and response.mimetype == "text/html":
            response.set_data(response.get_data(as_text=True).replace("</body>", f"{NOTE}</body>"))
        return response

    web_ui.app.register_blueprint(pages)
    web_ui.app.after_request(extend)


def stats(targets: Iterable[TargetStanding]) -> list[dict[str, Any]]:
    """The rows of both tables, as the page takes them."""
    every = list(targets)
    waits = [_wait_row(wait) for target in every for wait in target.waits]
    return [{"key": WAITS, "data": waits}, {"key": SESSIONS, "data": [_session_row(target) for target in every]}]


def _wait_row(wait: Wait) -> dict[str, Any]:
    return {
        "name": f"{wait.arm} {wait.name}",
        "target": wait.arm,
        "figure": wait.measure,
        "origin": wait.origin,
        "p50": _cell(wait.p50_ms),
        "p95": _cell(wait.p95_ms),
        "turns": wait.turns,
        "failed": wait.failed,
        "trend": sparkline(wait.trend_ms),
    }


def _session_row(target: TargetStanding) -> dict[str, Any]:
    unpriced = f" ({target.unpriced} unpriced)" if target.unpriced else ""
    return {
        "name": target.target,
        "target": target.target,
        "sessions": target.sessions_open,
        "turns": target.turns_good + target.turns_failed,
        "failed": target.turns_failed,
        "eventsin": target.rates.events_received,
        "eventsout": target.rates.events_sent,
        "bytesin": target.rates.bytes_received,
        "bytesout": target.rates.bytes_sent,
        "usd": (UNKNOWN if target.usd is None else dollars(target.usd)) + unpriced,
        "harness": f"harness {target.health}" if target.health else UNKNOWN,
        "verdict": target.verdict,
    }


def _cell(value_ms: float | None) -> float | str:
    """A number, by which the page sorts; else a word, for JSON has no infinity."""
    if value_ms is None:
        return UNKNOWN
    return FAILED if math.isinf(value_ms) else round(value_ms, 1)
