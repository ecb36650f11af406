import asyncio

from openai import AsyncOpenAI


async def main():
    client = AsyncOpenAI(api_key="any", base_url="http://127.0.0.1:8765/v1")
    async with client.realtime.connect(model="gpt-realtime") as connection:
        content = [{"type": "input_text", "text": "Hello!"}]
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": content}
        )
        await connection.response.create()
        async for event in connection:
            if event.type == "response.output_audio_transcript.done":
                print(event.transcript)
                break


asyncio.run(main())
