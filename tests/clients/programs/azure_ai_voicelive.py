import asyncio

from azure.ai.voicelive.aio import connect
from azure.ai.voicelive.models import InputTextContentPart, UserMessageItem
from azure.core.credentials import AzureKeyCredential


async def main():
    url, key = "http://127.0.0.1:8765", AzureKeyCredential("any")
    async with connect(endpoint=url, credential=key, model="gpt-realtime") as connection:
        await connection.conversation.item.create(
            item=UserMessageItem(content=[InputTextContentPart(text="Hello!")])
        )
        await connection.response.create()
        async for event in connection:
            if event.type == "response.audio_transcript.done":
                print(event["transcript"])
                break


asyncio.run(main())
