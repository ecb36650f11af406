"""A target for tests of the doctor."""

from __future__ import annotations

from bench.services.openai.dialect import GA
from bench.target.target import Auth, Credential, Target

KEY = Credential("api-key", "a-key-that-nobody-may-see")


HOST = "res.openai.azure.com"


def build_target(auth: Auth = KEY, resource: str = "/openai/v1/realtime?model=voice") -> Target:
    return Target(HOST, 443, True, resource, GA, "azure", label=HOST, auth=auth, model="voice")
