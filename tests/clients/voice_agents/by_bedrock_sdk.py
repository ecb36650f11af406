"""A conversation by aws-sdk-bedrock-runtime with the simulated Nova Sonic: typed, spoken,
interrupted, and a tool. `send` returns when the event was written; the response is awaited apart.

The SDK has HTTP/2 only over TLS, where it offers HTTP/1, too. It trusts no authority of a user.
"""

import asyncio
import base64
import json
import sys
import uuid
import wave

from aws_sdk_bedrock_runtime.client import (
    AsyncBedrockRuntimeClient,
    InvokeModelWithBidirectionalStreamOperationInput,
)
from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig
from aws_sdk_bedrock_runtime.models import (
    BidirectionalInputPayloadPart,
    InvokeModelWithBidirectionalStreamInputChunk,
)
from awscrt.aio.http import AIOHttpClientConnectionUnified
from awscrt.io import ClientTlsContext, TlsContextOptions
from smithy_aws_core.identity import StaticCredentialsResolver
from smithy_http.aio.crt import AWSCRTHTTPClient, AWSCRTHTTPClientConfig

CHUNK_MS = 32
CHUNK_BYTES = 16 * 2 * CHUNK_MS
"""1,024 bytes: 32 ms of 16 kHz."""
SPOKEN_S = 0.9
"""The time from a text to the speech that interrupts its reply."""
PLAYED_S = 0.5
"""The time in which a caller hears the end of a reply."""
LPCM = {"mediaType": "audio/lpcm", "sampleSizeBits": 16, "channelCount": 1, "encoding": "base64"}
PLAIN = {"mediaType": "text/plain"}
TOOL = {
    "name": "find_parcel",
    "description": "Find a parcel.",
    "inputSchema": {"json": '{"type": "object", "properties": {"order": {"type": "string"}}}'},
}


class Http2Only(AWSCRTHTTPClient):
    """The SDK's HTTP client with HTTP/2 only, and the simulator's authority."""

    def __init__(self, ca: str) -> None:
        super().__init__(client_config=AWSCRTHTTPClientConfig(force_http_2=True))
        options = TlsContextOptions()
        options.override_default_trust_store_from_path(None, ca)
        options.alpn_list = ["h2"]
        self._tls_ctx = ClientTlsContext(options)

    async def _build_new_connection(self, url):
        tls = self._tls_ctx.new_connection_options()
        tls.set_server_name(url.host)
        return await AIOHttpClientConnectionUnified.new(
            bootstrap=self._client_bootstrap,
            host_name=url.host,
            port=url.port,
            socket_options=self._socket_options,
            tls_connection_options=tls,
        )


class Conversation:
    def __init__(self, stream) -> None:
        self._stream = stream
        self._events = None

    async def send(self, **event) -> None:
        part = BidirectionalInputPayloadPart(bytes_=json.dumps({"event": event}).encode())
        await self._stream.input_stream.send(
            InvokeModelWithBidirectionalStreamInputChunk(value=part)
        )

    async def block(self, content: str, text: str, **start) -> None:
        names = {"promptName": "p", "contentName": str(uuid.uuid4())}
        await self.send(contentStart=names | start)
        await self.send(**{content: names | {"content": text}})
        await self.send(contentEnd=names)

    async def type(self, text: str, role: str = "USER", interactive: bool = True) -> None:
        start = {"type": "TEXT", "role": role, "interactive": interactive}
        await self.block("textInput", text, textInputConfiguration=PLAIN, **start)

    async def begin(self, tools: list) -> None:
        inference = {"maxTokens": 1024, "topP": 0.9, "temperature": 0.7}
        await self.send(sessionStart={"inferenceConfiguration": inference})
        output = LPCM | {"sampleRateHertz": 24000, "voiceId": "matthew", "audioType": "SPEECH"}
        prompt = {"promptName": "p", "textOutputConfiguration": PLAIN}
        prompt |= {"audioOutputConfiguration": output}
        if tools:
            prompt["toolConfiguration"] = {"tools": [{"toolSpec": tool} for tool in tools]}
        await self.send(promptStart=prompt)
        await self.type("You are brief.", "SYSTEM", interactive=False)
        start = {"promptName": "p", "contentName": "a", "type": "AUDIO", "role": "USER"}
        configuration = LPCM | {"sampleRateHertz": 16000, "audioType": "SPEECH"}
        start |= {"interactive": True, "audioInputConfiguration": configuration}
        await self.send(contentStart=start)

    async def turn(self) -> dict:
        """Return what the service sends until a reply, or its interruption, has ended."""
        seen = {"audio": 0, "said": "", "heard": "", "interrupted": 0, "calls": []}
        if self._events is None:
            _, self._events = await self._stream.await_output()
        stages = {}
        while (received := await self._events.receive()) is not None:
            ((name, fields),) = json.loads(received.value.bytes_)["event"].items()
            content = fields.get("content", "")
            match name:
                case "contentStart" if fields["type"] == "TEXT":
                    stages[fields["contentId"]] = fields["additionalModelFields"]
                case "audioOutput":
                    seen["audio"] += len(base64.b64decode(content))
                case "textOutput" if fields["role"] == "USER":
                    seen["heard"] += content
                case "textOutput" if content == '{ "interrupted" : true }':
                    seen["interrupted"] += 1
                case "textOutput" if "FINAL" in stages[fields["contentId"]]:
                    seen["said"] += content
                case "toolUse":
                    seen["calls"].append(fields["toolName"])
                    result = {"toolUseId": fields["toolUseId"], "type": "TEXT"}
                    result |= {"textInputConfiguration": PLAIN}
                    start = {"type": "TOOL", "role": "TOOL", "toolResultInputConfiguration": result}
                    await self.block("toolResult", '{"place": "depot"}', **start)
                case "contentEnd" if fields["type"] == "TEXT" and (
                    fields["stopReason"] in ("END_TURN", "INTERRUPTED")
                ):
                    if fields["stopReason"] == "END_TURN":
                        return seen
        sys.exit(f"the connection has ended: {seen}")

    async def spoken(self, audio: bytes) -> dict:
        """Send audio at the pace of a microphone, and then silence until the turn is over."""
        pieces = [audio[at : at + CHUNK_BYTES] for at in range(0, len(audio), CHUNK_BYTES)]

        async def stream() -> None:
            while True:
                piece = pieces.pop(0) if pieces else bytes(CHUNK_BYTES)
                content = base64.b64encode(piece).decode()
                named = {"promptName": "p", "contentName": "a"}
                await self.send(audioInput=named | {"content": content})
                await asyncio.sleep(CHUNK_MS / 1000)

        microphone = asyncio.create_task(stream())
        seen = await self.turn()
        microphone.cancel()
        return seen

    async def end(self) -> None:
        await self.send(contentEnd={"promptName": "p", "contentName": "a"})
        await self.send(promptEnd={"promptName": "p"})
        await self.send(sessionEnd={})
        await self._stream.input_stream.close()


def check(label: str, seen: dict, **expected) -> None:
    """Print what a turn had, and end the program if it lacks audio or an expected value."""
    print(label, seen)
    wrong = {name: value for name, value in expected.items() if seen[name] != value}
    if seen["audio"] < 10_000 or not seen["said"] or wrong:
        sys.exit(f"{label}: {wrong or 'no reply'}")


async def main(port: int, wav: str, ca: str, secret: str) -> None:
    with wave.open(wav) as file:
        assert file.getframerate() == 16_000
        audio = file.readframes(file.getnframes())
    config = await AsyncBedrockRuntimeConfig.resolve(
        endpoint_uri=f"https://localhost:{port}",
        region="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=secret,
        aws_credentials_identity_resolver=StaticCredentialsResolver(),
        transport=Http2Only(ca),
    )
    client = AsyncBedrockRuntimeClient(config=config)
    request = InvokeModelWithBidirectionalStreamOperationInput(model_id="amazon.nova-2-sonic-v1:0")
    for tools in ([], [TOOL]):
        stream = await client.invoke_model_with_bidirectional_stream(request)
        call = Conversation(stream)
        await call.begin(tools)
        if tools:
            await call.type("Where is it?")
            check("tool", await call.turn(), calls=["find_parcel"])
        else:
            await call.type("Hello!")
            check("typed", await call.turn(), interrupted=0)
            await asyncio.sleep(PLAYED_S)
            check("spoken", await call.spoken(audio), interrupted=0)
            await asyncio.sleep(PLAYED_S)
            await call.type("Tell me everything.")
            await asyncio.sleep(SPOKEN_S)
            check("interrupted", await call.spoken(audio), interrupted=1)
        await call.end()


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
