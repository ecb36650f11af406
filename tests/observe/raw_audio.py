"""Audio as a service sends it."""

from __future__ import annotations

import base64

import msgspec


def raw(data: bytes) -> msgspec.Raw:
    return msgspec.Raw(b'"' + base64.b64encode(data) + b'"')
