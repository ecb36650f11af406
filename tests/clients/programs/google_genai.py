import asyncio

from google import genai


async def main():
    client = genai.Client(api_key="any", http_options={"base_url": "https://127.0.0.1:8765"})
    config = {"response_modalities": ["AUDIO"], "output_audio_transcription": {}}
    async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
        await session.send_realtime_input(text="Hello!")
        async for message in session.receive():
            content = message.server_content
            if content and content.output_transcription:
                print(content.output_transcription.text, end="")


asyncio.run(main())
