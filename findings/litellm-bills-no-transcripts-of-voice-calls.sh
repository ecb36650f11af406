#!/bin/sh
# Software: litellm 1.108.7 with its proxy (PyPI, Python), a gateway in front of a Realtime API, its own table of prices, default settings.
# Expected: the spend of a call with transcripts of the caller is that of its responses and of its transcripts. The reference of the
#           Realtime API says of the `usage` of `conversation.item.input_audio_transcription.completed`, that it is billed by the
#           prices of the transcription model, apart from the realtime model. litellm knows the event, and knows those prices.
# Seen:     in a session of type `realtime`, the spend is that of the responses alone, exactly. The transcript costs nothing, and its
#           tokens are in no count. The same event in a session of type `transcription` is billed as expected.
# Why:      spend, budgets, and alarms of a gateway are too low by the transcripts of all calls. With gpt-realtime-mini, a turn with a
#           minute of speech and a reply of 12 s costs a third more than what is recorded. A caller whose speech gets no response costs
#           nothing. Who compares this with a load test's cost per minute, or the invoice, finds a difference without a cause.
# Takes about two minutes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install "litellm[proxy]==1.108.7" websockets==15.0.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

# The gateway calls this at the end of each call.
cat >spend.py <<'EOF'
import json

from litellm.integrations.custom_logger import CustomLogger


class Spend(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        call = kwargs["standard_logging_object"]
        tokens = call["prompt_tokens"] + call["completion_tokens"]
        with open("spend.jsonl", "a") as file:
            file.write(json.dumps({"usd": call["response_cost"], "tokens": tokens}) + "\n")


spend = Spend()
EOF

cat >show.py <<'EOF'
import asyncio
import json
import pathlib
import secrets
import socket
import subprocess

import litellm
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

VOICE, EARS = "gpt-realtime-mini", "gpt-4o-transcribe"
HEARD = {  # a minute of speech
    "type": "tokens",
    "total_tokens": 800,
    "input_tokens": 600,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 600},
    "output_tokens": 200,
}
ANSWERED = {
    "total_tokens": 1000,
    "input_tokens": 700,
    "output_tokens": 300,
    "input_token_details": {
        "text_tokens": 100,
        "audio_tokens": 600,
        "cached_tokens": 0,
        "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0},
    },
    "output_token_details": {"text_tokens": 60, "audio_tokens": 240},
}


def prices():
    """Return the USD of the response and of the transcript by litellm's table."""
    voice, ears = litellm.model_cost[VOICE], litellm.model_cost[EARS]
    response = (
        100 * voice["input_cost_per_token"]
        + 600 * voice["input_cost_per_audio_token"]
        + 60 * voice["output_cost_per_token"]
        + 240 * voice["output_cost_per_audio_token"]
    )
    transcript = 600 * ears["input_cost_per_audio_token"] + 200 * ears["output_cost_per_token"]
    return response, transcript


async def service(connection):
    """Answer as OpenAI: what is transcribed is known from the first `session.updated` on."""
    voice = VOICE in connection.request.path
    session = {"id": "session-1", "type": "realtime" if voice else "transcription"}
    session["object"] = f"realtime.{'session' if voice else 'transcription_session'}"
    session["audio"] = {"input": {"transcription": None if voice else {"model": EARS}}}
    if voice:
        session["model"] = VOICE

    async def send(kind, **fields):
        await connection.send(json.dumps({"type": kind, "event_id": f"event-{secrets.token_hex(4)}", **fields}))

    await send("session.created", session=session)
    async for message in connection:
        event = json.loads(message)
        if event["type"] == "session.update":
            session["audio"] = event["session"]["audio"]
            await send("session.updated", session=session)
        if event["type"] == "input_audio_buffer.commit":
            kind = "conversation.item.input_audio_transcription.completed"
            await send(kind, item_id="item-1", content_index=0, transcript="hello", usage=HEARD)
            if voice:
                response = {"id": "response-1", "object": "realtime.response", "status": "completed", "output": []}
                await send("response.done", response={**response, "usage": ANSWERED})


async def call(url, key, kind):
    """Make one call of one turn, and return the line of its spend."""
    path = pathlib.Path("spend.jsonl")
    path.unlink(missing_ok=True)
    async with connect(url, additional_headers={"Authorization": f"Bearer {key}"}) as client:
        session = {"type": kind, "audio": {"input": {"transcription": {"model": EARS}}}}
        await client.send(json.dumps({"type": "session.update", "session": session}))
        await client.send(json.dumps({"type": "input_audio_buffer.commit"}))
        last = "response.done" if kind == "realtime" else "conversation.item.input_audio_transcription.completed"
        while json.loads(await client.recv())["type"] != last:
            pass
    for _ in range(300):
        await asyncio.sleep(0.2)
        if path.exists() and path.read_text().endswith("\n"):
            return json.loads(path.read_text().splitlines()[0])
    raise SystemExit("The gateway recorded no spend.")


async def main():
    key = f"sk-{secrets.token_hex(24)}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with serve(service, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pathlib.Path("proxy.json").write_text(json.dumps({
            "model_list": [
                {"model_name": name, "litellm_params": {
                    "model": f"openai/{name}", "api_key": "key", "api_base": base,
                }}
                for name in (VOICE, EARS)
            ],
            "litellm_settings": {"callbacks": ["spend.spend"]},
            "general_settings": {"master_key": key},
        }))
        command = ["venv/bin/litellm", "--config", "proxy.json", "--host", "127.0.0.1", "--port", str(port)]
        with open("proxy.log", "w") as log:
            proxy = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                await asyncio.sleep(0.2)
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
            url = f"ws://127.0.0.1:{port}/v1/realtime?model="
            voice = await call(url + VOICE, key, "realtime")
            ears = await call(url + EARS, key, "transcription")
        finally:
            proxy.terminate()
            proxy.wait(20)
    response, transcript = prices()
    print(f"by litellm's prices: the response costs {response:.6f} USD, the transcript {transcript:.6f} USD")
    print(f"{VOICE}, session of type realtime, both: recorded {voice['usd']:.6f} USD, {voice['tokens']} tokens")
    print(f"{EARS}, session of type transcription, the transcript: recorded {ears['usd']:.6f} USD")
    print(f"missing in the voice call: {response + transcript - voice['usd']:.6f} USD, "
          f"{100 * transcript / voice['usd']:.0f} % of what is recorded")
    same = abs(voice["usd"] - response) < 1e-9 and abs(ears["usd"] - transcript) < 1e-9
    print("As described: the transcript is not billed." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
LITELLM_LOCAL_MODEL_COST_MAP=True venv/bin/python -W ignore show.py 2>errors.log || { status=$?; tail -n 3 errors.log; exit $status; }
