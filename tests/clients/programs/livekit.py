import asyncio

from livekit.agents.utils import http_context
from livekit.plugins.openai import realtime


async def main():
    async with http_context.open():
        model = realtime.RealtimeModel(
            api_key="any", base_url="http://127.0.0.1:8765/v1", model="gpt-realtime"
        )
        session = model.session()
        reply = await session.generate_reply(instructions="Greet the caller.")
        async for message in reply.message_stream:
            print("".join([str(piece) async for piece in message.text_stream]))
            break
        await session.aclose()


asyncio.run(main())
