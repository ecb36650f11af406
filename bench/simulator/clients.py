"""Says what to paste into a client so that it reaches this simulator."""

from __future__ import annotations

from typing import NamedTuple


class ClientLines(NamedTuple):
    """What reaches the simulator from one client; `{http}` and `{ws}` stand for its address, `{key}` for a key."""

    name: str
    lines: tuple[str, ...]
    secure: bool = False
    """Whether it speaks wss alone."""


CLIENTS = (
    ClientLines("openai (Python)", (
        'client = AsyncOpenAI(api_key="{key}", base_url="{http}/v1")',
        'async with client.realtime.connect(model="gpt-realtime") as connection:',
    )),
    ClientLines("openai (Node)", (
        'const client = new OpenAI({{ apiKey: "{key}", baseURL: "{http}/v1" }});',
        'const connection = new OpenAIRealtimeWS({{ model: "gpt-realtime" }}, client);',
    ), secure=True),
    ClientLines("openai-agents", (
        'at = {{"api_key": "{key}", "url": "{ws}/v1/realtime?model=gpt-realtime"}}',
        "async with await RealtimeRunner(agent).run(model_config=at) as session:",
    )),
    ClientLines("@openai/agents (Node)", (
        'const url = "{ws}/v1/realtime?model=gpt-realtime";',
        'await session.connect({{ apiKey: "{key}", url }});',
    )),
    ClientLines("rtclient", (
        'url, key = "{http}", AzureKeyCredential("{key}")',
        'async with RTClient(url, key_credential=key, azure_deployment="gpt-realtime") as client:',
    )),
    ClientLines("azure-ai-voicelive", (
        'url, key = "{http}", AzureKeyCredential("{key}")',
        'async with connect(endpoint=url, credential=key, model="gpt-realtime") as connection:',
    )),
    ClientLines("LiveKit", (
        'model = realtime.RealtimeModel(api_key="{key}", base_url="{http}/v1", model="gpt-realtime")',
        "session = model.session()",
    )),
    ClientLines("pipecat", (
        'url = "{ws}/v1/realtime"',
        'service = OpenAIRealtimeLLMService(api_key="{key}", base_url=url)',
    )),
)  # fmt: skip


def lines_for(client: ClientLines, ws: str, key: str) -> list[str]:
    """The lines of a client for the address `ws`, as `ws://127.0.0.1:8765`."""
    return [line.format(ws=ws, http=ws.replace("ws", "http", 1), key=key) for line in client.lines]


def to_paste(ws: str, ca: str | None, *, keyed: bool) -> list[str]:
    """The lines of all clients, each behind its heading. `keyed`: clients are asked for a key, which is not shown."""
    key = "YOUR-KEY" if keyed else "any"
    lines = [f"trust: export SSL_CERT_FILE={ca} NODE_EXTRA_CA_CERTS={ca}"] if ca else []
    for client in CLIENTS:
        needs = " (speaks wss alone: start the simulator with --tls)" if client.secure and ca is None else ""
        lines += [f"{client.name}{needs}", *(f"  {line}" for line in lines_for(client, ws, key))]
    return lines
