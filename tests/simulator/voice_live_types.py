"""A check of server events against the models of Azure Voice Live's own client
(`azure-ai-voicelive`).
"""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from azure.ai.voicelive import _unions, models
from azure.ai.voicelive._utils.model_base import Model
from azure.ai.voicelive.models import ServerEvent, _models

NAMES = vars(_models) | {"_models": models, "_unions": _unions}
UNSAID = {"rate_limits.updated"}
"""Events of preview that this client ignores, because it has no model for them."""
OF_REQUESTS = {_models.RequestAudioContentPart: {"audio"}}
"""Fields that only a client sends. For example, an item from a service contains no audio."""


def assert_voice_live(events: list[dict[str, Any]]) -> None:
    """Assert that the client knows each event, and that no required field is missing at any
    depth.
    """
    for event in events:
        model = ServerEvent._deserialize(event, [])
        if event["type"] not in UNSAID:
            assert type(model) is not ServerEvent, event["type"]
            assert_whole(model, event["type"])


def assert_whole(model: Any, place: str) -> None:
    hints = get_type_hints(type(model), NAMES)
    for name, field in type(model)._attr_to_rest_field.items():
        where = f"{place}.{field._rest_name}"
        value = getattr(model, name)
        if type(None) not in get_args(hints[name]) and name not in OF_REQUESTS.get(type(model), ()):
            assert value is not None, where
        for number, inner in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(inner, Model):
                assert_whole(inner, f"{where}[{number}]" if isinstance(value, list) else where)
