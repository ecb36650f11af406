"""The keys of a script's `session` that only GPT-Live has."""

from __future__ import annotations

from typing import Any

from bench.files.validation import Choice, Converted, Field, Integer, JsonObject, OrStruct, String
from bench.wire.setting_keys import SettingKeys, TypedMapValidator

ACKNOWLEDGEMENT: dict[str, Any] = {
    "acknowledgement_delay_ms": Field(Integer(0, 600_000), "The delay of an automatic filler, in ms.")
}
DELEGATION = Converted(
    OrStruct(
        Choice(("client",)),
        TypedMapValidator(
            {
                "client": ACKNOWLEDGEMENT,
                "responses": {
                    "responses": Field(
                        JsonObject(), "The backend: its `model`, `instructions` and so on, in the service's format."
                    ),
                    **ACKNOWLEDGEMENT,
                },
            }
        ),
    ),
    lambda _, value: {"type": value} if isinstance(value, str) else value,
)
SETTING_KEYS = SettingKeys(
    {
        "model": Field(String(), "The model that answers, if it is a setting of the session. GPT-Live only."),
        "delegation": Field(
            DELEGATION, "Who does the tasks that GPT-Live delegates: client (the default), or a table with a `type`."
        ),
    }
)
