"""Limits what Locust's web UI lets its visitors do: shape the load, and no more.

Locust takes any of its options from the form of `/swarm`, whether its page shows it or not, and any attribute of a user
class from `/user`; and it lets pages of other origins ask. So the door is here, before its handlers.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from flask import Response, jsonify, make_response, request
from werkzeug.datastructures import ImmutableMultiDict

from bench.errors import UsageError
from bench.load.planning.options import LOOPBACK, SHAPE, users_of

LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost", "::1"})
"""What a browser on this machine calls it."""
LOCUST_SHAPE = frozenset({"user_count", "spawn_rate", "run_time"})
PICKED = frozenset({"user_classes", "shape_class"})
"""With `--class-picker`."""


def guard(web_ui: Any, chosen: Mapping[str, Any], check: Callable[[Any], None]) -> None:
    """Put the door before Locust's handlers.

    `chosen`: the options as they are set, by their names. `check` raises UsageError for options that cannot be.
    """
    allowed = SHAPE | LOCUST_SHAPE | (PICKED if web_ui.userclass_picker_is_active else frozenset())

    def admit() -> Response | None:
        if problem := stranger(request.host, request.headers.get("Origin"), _names(web_ui)):
            return make_response(problem, 403)
        if request.endpoint == "locust.update_user":
            return make_response("user classes are written in the locustfile, not here", 403)
        if request.endpoint != "locust.swarm":
            return None
        if refused := chosen_elsewhere(request.form.items(), allowed, chosen):
            return jsonify({"success": False, "message": refused})  # as Locust's own page shows it
        shape = [(name, value) for name, value in request.form.items(multi=True) if name in allowed]
        request.form = ImmutableMultiDict(shape)
        try:
            check_picked(request.form, web_ui.environment)
            check(as_asked(request.form, chosen))
        except UsageError as error:  # before Locust sets anything: what it has set stays for the next run, too
            return jsonify({"success": False, "message": str(error)})
        return None

    web_ui.app.before_request(admit)


def chosen_elsewhere(form: Iterable[tuple[str, str]], allowed: frozenset[str], chosen: Mapping[str, Any]) -> str:
    """Say why a form is refused: it would change what is not its own; "" where it does not.

    Locust's page sends fields that nobody touched, too.
    """
    for name, value in form:
        if name not in allowed and name in chosen and value != _as_shown(chosen[name]):
            option = f"--{name.replace('_', '-')}"
            return f"{option} is chosen on the command line or in the environment, not in the web UI"
    return ""


def check_picked(form: ImmutableMultiDict[str, str], environment: Any) -> None:
    """Raises UsageError for a class that is not there to be picked."""
    shapes = {"Default", *(environment.available_shape_classes or ())}
    for name, there in (("user_classes", environment.available_user_classes or ()), ("shape_class", shapes)):
        if unknown := next((picked for picked in form.getlist(name) if picked not in there), None):
            raise UsageError(f"{name}: there is no {unknown:.100}, only {', '.join(sorted(there))}")


def as_asked(form: Mapping[str, str], chosen: Mapping[str, Any]) -> Namespace:
    """The options as Locust would set them from a form, but for numbers, most of which are text still.

    Raises UsageError for a number of users that cannot be.
    """
    shape = {name: form[name] for name in SHAPE & form.keys()}
    asked: dict[str, Any] = {
        name: value == "true" if isinstance(chosen[name], bool) else value for name, value in shape.items()
    }
    asked |= {name: form[name] for name in ("spawn_rate", "run_time") if form.get(name)}
    if "user_count" in form:
        asked["num_users"] = users_of(form["user_count"])
    return Namespace(**{**chosen, **asked})


def _as_shown(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def stranger(host: str, origin: str | None, names: frozenset[str]) -> str:
    """Say why a request is refused that a page of somebody else makes in a visitor's browser; "" where it is none.

    `host`, `origin`: its headers; `names`: what the UI may be called, nothing for whatever.
    """
    if names and _split(f"//{host}").hostname not in names:
        return "the web UI listens on loopback and is called localhost there; see --web-host and --web-login"
    if origin is not None and _split(origin).netloc != host:
        return "pages of other origins may not use the web UI"
    return ""


def _split(address: str) -> SplitResult:
    """Split an address into its parts; nothing of one that is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _names(web_ui: Any) -> frozenset[str]:
    """On loopback nobody else's name leads here, but one that was pointed at it; behind a login that does no harm."""
    return frozenset() if web_ui.web_login or web_ui.host not in LOOPBACK_NAMES else LOOPBACK_NAMES


def open_words(web_ui: Any) -> str:
    """The warning where others than this machine can use it, and need no login; "" where they cannot."""
    if web_ui.web_login or web_ui.host in LOOPBACK_NAMES:
        return ""
    return (
        f"the web UI is open without a login on {web_ui.host or '*'}:{web_ui.port}: anyone who reaches it can "
        "start runs that cost money; leave --web-host out, or add --web-login"
    )
