"""The services that are known by name: the address, the dialect and the sign-in of each. Pure.

A dialect contains a service's deviations from the protocol. docs/targets.md has the source of each statement, and
reports what was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.services.agents.dialects import AgentDialect
from bench.services.openai.ga import GA
from bench.services.registry import DIALECTS, GLM, INWORLD, QWEN, STEPFUN, XAI
from bench.wire.dialect import Dialect

MODEL = "{model}"


@dataclass(frozen=True)
class KnownService:
    """A service that is known by name.

    `url` is its address, with `{model}` in place of the model. `model` is the default model. `hosts` are the ends of
    its host names; a server that people run themselves has none. `api_key_env` is the variable from which the service's
    own clients read the key. `basic` is True if the key is sent by Basic authentication. `minutes` is the maximum
    duration of a session; None if no limit is known.
    """

    title: str
    url: str
    dialect: Dialect
    hosts: tuple[str, ...] = ()
    model: str | None = None
    api_key_env: str | None = None
    basic: bool = False
    minutes: int | None = None


SERVICES: Mapping[str, KnownService] = {
    "openai": KnownService(
        "OpenAI",
        "wss://api.openai.com/v1/realtime?model={model}",
        GA,
        hosts=("api.openai.com",),
        api_key_env="OPENAI_API_KEY",
        minutes=60,
    ),
    "xai": KnownService(
        "xAI Grok",
        "wss://api.x.ai/v1/realtime?model={model}",
        XAI,
        hosts=("api.x.ai",),
        model="grok-voice-latest",
        api_key_env="XAI_API_KEY",
        minutes=60,
    ),
    "qwen": KnownService(
        "Qwen-Omni",
        "wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime?model={model}",
        QWEN,
        hosts=("aliyuncs.com",),
        api_key_env="DASHSCOPE_API_KEY",
        minutes=120,
    ),
    "stepfun": KnownService(
        "StepFun",
        "wss://api.stepfun.ai/v1/realtime?model={model}",
        STEPFUN,
        hosts=("api.stepfun.ai", "api.stepfun.com"),
        api_key_env="STEPFUN_API_KEY",
        minutes=30,
    ),
    "glm": KnownService(
        "GLM-Realtime",
        "wss://open.bigmodel.cn/api/paas/v4/realtime",
        GLM,
        hosts=("open.bigmodel.cn",),
        model="glm-realtime",
        api_key_env="ZHIPU_API_KEY",
    ),
    "inworld": KnownService(
        "Inworld",
        "wss://api.inworld.ai/api/v1/realtime/session?key={uuid}&protocol=realtime",
        INWORLD,
        hosts=("api.inworld.ai",),
        api_key_env="INWORLD_API_KEY",
        basic=True,
    ),
    "localai": KnownService("LocalAI", "ws://localhost:8080/v1/realtime?model={model}", GA),
    "huggingface": KnownService(
        "Hugging Face speech-to-speech", "ws://localhost:8765/v1/realtime?model={model}", GA, model="speech-to-speech"
    ),
    **{
        name: KnownService(dialect.title, "sip:agent@localhost" if name == "sip" else "ws://localhost:8765/ws", dialect)
        for name, dialect in DIALECTS.items()
        if isinstance(dialect, AgentDialect)
    },
    "litellm": KnownService(
        "LiteLLM", "ws://localhost:4000/v1/realtime?model={model}", GA, api_key_env="LITELLM_API_KEY"
    ),
}
OF_PATHS = {
    "/api-ws/v1/realtime": "qwen",
    "/api/paas/v4/realtime": "glm",
    "/api/v1/realtime/session": "inworld",
}
"""The paths that only one service has, with the name of this service."""


def service_at(host: str, path: str) -> str | None:
    """Return the name of the service at an address; None if it is unknown.

    The host is compared first. If no service has this host, the path is compared.
    """
    named = host.removesuffix(".")
    by_host = (name for name, known in SERVICES.items() if any(f".{named}".endswith(f".{end}") for end in known.hosts))
    return next(by_host, OF_PATHS.get(path))
