import asyncio

from agents import set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner


async def main():
    agent = RealtimeAgent(name="Parcels", instructions="Help the caller.")
    at = {"api_key": "any", "url": "ws://127.0.0.1:8765/v1/realtime?model=gpt-realtime"}
    async with await RealtimeRunner(agent).run(model_config=at) as session:
        await session.send_message("Hello!")
        async for event in session:
            if event.type == "raw_model_event" and event.data.type == "transcript_delta":
                print(event.data.delta, end="")
            if event.type == "agent_end":
                break


set_tracing_disabled(True)
asyncio.run(main())
