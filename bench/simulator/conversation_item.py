"""Holds an item of the conversation: what an event shows of it (`body`, never audio), and what only the server knows.

Where a client truncates an assistant's audio, what is beyond is gone from what responses read and from what `retrieve`
shows, and the transcript with it, as the service does (the official SDK's ConversationItemTruncateEvent).
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import NamedTuple

from bench.simulator.voice import TOKEN_MS, AudioBlock
from bench.simulator.wire import Json

USER_AUDIO_TOKEN_MS = 100
LETTERS_PER_TEXT_TOKEN = 4


class TokenCounts(NamedTuple):
    """Counts tokens by their kind."""

    text: int = 0
    audio: int = 0
    image: int = 0

    @property
    def sum(self) -> int:
        return self.text + self.audio + self.image


NO_TOKENS = TokenCounts()


@dataclass
class ConversationItem:
    """Holds an item. `spoken` are the blocks of an assistant's audio that were sent; None for every other item.

    `response_id`: of the response that made it, "" of a client's. `audio_end_ms`: where a client has truncated it.
    `left_out`: the model's context has no room for it any more. `filler`: it was said while functions ran.
    """

    id: str
    body: Json
    tokens: TokenCounts = NO_TOKENS
    spoken: list[AudioBlock] | None = None
    audio_end_ms: int | None = None
    left_out: bool = False
    response_id: str = ""
    filler: bool = False

    @property
    def spoken_ms(self) -> int:
        """The audio of an assistant's item that was sent and not truncated."""
        sent_ms = sum(block.audio_ms for block in self.spoken or ())
        return sent_ms if self.audio_end_ms is None else min(self.audio_end_ms, sent_ms)

    def hold(self, part: Json, tokens: TokenCounts) -> None:
        """Take in what an assistant has said, which a client may have truncated meanwhile."""
        self.body["content"] = [part]
        self.tokens = tokens
        if self.audio_end_ms is not None:
            self.truncate(self.audio_end_ms)

    def truncate(self, audio_end_ms: int) -> None:
        self.audio_end_ms = audio_end_ms
        self.tokens = TokenCounts(audio=-(-audio_end_ms // TOKEN_MS))
        for part in self.body["content"]:
            part["transcript"] = None

    def with_audio(self) -> Json:
        """The body, with the audio of an assistant's item; a user's audio is not kept."""
        if not self.spoken or not self.body["content"]:
            return self.body
        audio = b"".join(binascii.a2b_base64(block.encoded[1:-1]) for block in self.spoken)
        kept = audio[: self.spoken_ms * self.spoken[0].audio_bytes // self.spoken[0].audio_ms]
        part = self.body["content"][0] | {"audio": binascii.b2a_base64(kept, newline=False).decode()}
        return self.body | {"content": [part]}


def user_audio_item(item_id: str, audio_ms: float) -> ConversationItem:
    """The item that a commit makes."""
    content = [{"type": "input_audio", "transcript": None}]
    body = message_body(item_id, "user", content)
    return ConversationItem(item_id, body, TokenCounts(audio=user_audio_tokens(audio_ms)))


def message_body(item_id: str, role: str, content: list[Json], status: str = "completed") -> Json:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def text_tokens(words: str) -> int:
    return -(-len(words) // LETTERS_PER_TEXT_TOKEN)


def user_audio_tokens(audio_ms: float) -> int:
    return -int(-audio_ms // USER_AUDIO_TOKEN_MS)
