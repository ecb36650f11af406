"""Speech from text: the synthesizer of a script, and the WAV that it makes of each text.

This module only reads WAVs. `rtbench validate --synthesize` makes them, so a script from another
person runs nothing until the user asks. The name of a WAV is a digest of everything that determines
its sound. If the text, the voice, or the synthesizer changes, the WAV has another name, and is
missing until it is made.
"""

import hashlib
import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlunsplit

from bench.base.errors import UsageError, see
from bench.files.sanitize import excerpt
from bench.files.validation import (
    Converted,
    Field,
    InvalidCombinationError,
    OneKeyOf,
    OrStruct,
    Schema,
    String,
    StructOf,
    Validator,
    unicode_text,
)
from bench.files.yaml_file import LocatedValue
from bench.plan.random_choices import names_in
from bench.plan.recordings import Pcm
from bench.plan.script_keys import VARIABLE, WAV, WORDS, load_wav
from bench.services.registry import service_at
from bench.wire.addresses import is_loopback
from bench.wire.service import BEARER, KeyHeader

# A script that names a command is a program of another author. So reading a script never runs it. A
# missing WAV is an error with the command that makes it (`MissingSpeechError`), and only the user
# runs that command. The digest in the name makes a WAV that was made for another text, voice or
# synthesizer impossible to use by mistake, and lets scripts share a WAV.
FOLDER = "speech"
"""The folder of synthesized WAVs. It is in the folder of their script."""
DIGEST_CHARACTERS = 16
MAX_COMMAND_WORDS = 100
ENDPOINT = "/audio/speech"
_PLACE = re.compile(r"\{(text|voice|file)\}")


@dataclass(frozen=True)
class CommandSynthesizer:
    """A command that makes a WAV of a text, with `{text}`, `{voice}` and `{file}` in its words.

    If no word contains `{text}`, the text goes to the standard input of the command.
    """

    command: tuple[str, ...]
    voice: str | None = None

    @property
    def identity(self) -> list[str]:
        """The part of a WAV's digest that the synthesizer determines."""
        return list(self.command)

    @property
    def reads_text_from_stdin(self) -> bool:
        return not self.has("text")

    def has(self, name: str) -> bool:
        """Return whether a word contains this placeholder."""
        return any(f"{{{name}}}" in word for word in self.command)

    def words(self, text: str, voice: str | None, file: Path) -> list[str]:
        """Return the words of the command that writes the speech of a text to `file`."""
        values = {"text": text, "voice": voice or "", "file": str(file)}
        return [_PLACE.sub(lambda place: values[place[1]], word) for word in self.command]

    def problem(self, text: str, voice: str | None) -> str:
        """Return the reason why the command cannot say a text with a voice; "" if it can."""
        if self.has("voice") and voice is None:
            return (
                "needs `voice`, here or in `synthesizer`, because a word of `command` contains"
                " {voice}"
            )
        if voice is not None and not self.has("voice"):
            return (
                "has a `voice` without effect, because no word of `command` contains {voice}: add"
                " it, or remove voice"
            )
        if "\0" in text:
            return "contains a NUL, which a command cannot get"
        bare = next(
            (number for number, word in enumerate(self.command) if word.startswith("{text}")), None
        )
        if text.startswith("-") and bare is not None and "--" not in self.command[:bare]:
            return (
                'begins with -, so the command would take it for an option: put the word "--"'
                ' before "{text}", or leave "{text}" out; then the text goes to the standard input'
                " of the command"
            )
        return ""


@dataclass(frozen=True)
class HttpSynthesizer:
    """A service with OpenAI's `/audio/speech` at `url`. `api_key_env` is None if it needs no
    key.
    """

    url: str
    model: str
    api_key_env: str | None = None
    voice: str | None = None

    @property
    def identity(self) -> list[str]:
        """The part of a WAV's digest that the synthesizer determines."""
        return [self.url, self.model]

    @property
    def key_header(self) -> KeyHeader:
        """The header that carries the key."""
        from bench.target.address import split_url

        known = service_at(split_url(self.url, "url", "url").hostname or "", "")
        return BEARER if known is None else known.key_header

    def problem(self, text: str, voice: str | None) -> str:
        """Return the reason why the service cannot say a text with a voice; "" if it can."""
        return "needs `voice`, here or in `synthesizer`" if voice is None else ""


Synthesizer = CommandSynthesizer | HttpSynthesizer


@dataclass(frozen=True)
class SpeechText:
    """A text to say. `path` is the WAV with its speech, which may be missing."""

    text: str
    voice: str | None
    synthesizer: Synthesizer
    path: Path


@dataclass(frozen=True)
class SpeechSource:
    """The synthesized speech of a script. `file` is the script, and `synthesizer` is None if it
    has none.
    """

    file: Path
    synthesizer: Synthesizer | None

    @property
    def command(self) -> str:
        """The command that makes missing WAVs."""
        return f"rtbench validate --synthesize {shlex.quote(str(self.file))}"

    def speech(self, synthesizer: Synthesizer, text: str, voice: str | None) -> SpeechText:
        """Return a text with the path of its WAV."""
        parts = json.dumps([text, voice, synthesizer.identity])
        name = hashlib.sha256(parts.encode()).hexdigest()[:DIGEST_CHARACTERS]
        return SpeechText(text, voice, synthesizer, self.file.parent / FOLDER / f"{name}.wav")


class MissingSpeechError(Exception):
    """The cause of an error about a text whose WAV is missing."""

    def __init__(self, speech: SpeechText) -> None:
        super().__init__(str(speech.path))
        self.speech = speech


def missing_speech(error: BaseException) -> SpeechText | None:
    """Return the text whose missing WAV caused an error; None if the error has another cause."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MissingSpeechError):
        cause = cause.__cause__
    return cause.speech if cause else None


@dataclass(frozen=True)
class CommandValidator(Validator[tuple[str, ...]]):
    """A validator of a command: a list of words, of which at least one contains `{file}`."""

    def read(self, value: LocatedValue) -> tuple[str, ...]:
        allowed = 'a list of words, as in [espeak-ng, -w, "{file}", --, "{text}"]'
        content = value.content()
        if not isinstance(content, list) or not 1 <= len(content) <= MAX_COMMAND_WORDS:
            raise value.type_error(allowed)
        words = [item.content() for item in content]
        for item, word in zip(content, words, strict=True):
            if not isinstance(word, str):
                raise item.error(
                    f"each word of {value.name} must be a string, not {item.displayed()}: put it in"
                    " quotes"
                )
            unicode_text(item, word)
        command = tuple(map(str, words))
        if not command[0].strip():
            raise value.refuse("must begin with the name of a program")
        if not any("{file}" in word for word in command):
            raise value.refuse(
                'needs "{file}" in one of its words: the path of the WAV that the command must'
                " write"
            )
        return command

    def schema(self) -> Schema:
        return {
            "type": "array",
            "items": {"type": "string"},
            "contains": {"pattern": r"\{file\}"},
            "minItems": 1,
            "maxItems": MAX_COMMAND_WORDS,
            "prefixItems": [{"type": "string", "pattern": r"\S"}],
        }


def _endpoint(value: LocatedValue, text: str) -> str:
    """Return the complete URL of a service."""
    try:
        from bench.target.address import split_url

        parts = split_url(text, "url", value.name)
    except UsageError as error:
        raise value.error(str(error)) from None
    if parts.scheme not in ("https", "http"):
        raise value.refuse("must begin with https:// or http://")
    path = parts.path.rstrip("/")
    if path.endswith("/v1"):
        path += ENDPOINT
    if not path.endswith(ENDPOINT):
        raise value.refuse(f"must end in /v1 or {ENDPOINT}, as in https://api.openai.com/v1")
    return urlunsplit(parts._replace(path=path))


def _command_synthesizer(command: tuple[str, ...], voice: str | None = None) -> CommandSynthesizer:
    synthesizer = CommandSynthesizer(command, voice)
    if voice is not None and not synthesizer.has("voice"):
        raise InvalidCombinationError(
            "voice", "has no effect, because no word of `command` contains {voice}"
        )
    return synthesizer


def _http_synthesizer(
    url: str, model: str, api_key_env: str | None = None, voice: str | None = None
) -> HttpSynthesizer:
    from bench.target.address import split_url

    parts = split_url(url, "url", "url")
    host = parts.hostname or ""
    known = service_at(host, "")
    variable = api_key_env or (known.api_key_env if known else None)
    if variable is not None and parts.scheme == "http" and not is_loopback(host):
        raise InvalidCombinationError(
            "url", "must begin with https://: otherwise the key is sent without encryption"
        )
    return HttpSynthesizer(url, model, variable, voice)


VOICE = Field(String(), "The voice, unless a text has its own.")
SYNTHESIZER = OneKeyOf[Synthesizer](
    {
        "command": StructOf(
            {
                "command": Field(
                    CommandValidator(),
                    "The words of a command that writes the WAV {file}; {text} and {voice} are"
                    " replaced, too.",
                    required=True,
                ),
                "voice": VOICE,
            },
            _command_synthesizer,
        ),
        "url": StructOf(
            {
                "url": Field(
                    Converted(String(), _endpoint),
                    "The URL of an OpenAI-compatible service, to /v1 or /audio/speech.",
                    required=True,
                ),
                "model": Field(
                    String(), "The model that speaks; on Azure its deployment.", required=True
                ),
                "api_key_env": Field(VARIABLE, "The environment variable with the key."),
                "voice": VOICE,
            },
            _http_synthesizer,
        ),
    }
)

SAY: StructOf[dict[str, str]] = StructOf(
    {
        "say": Field(WORDS, "The text to say.", required=True),
        "voice": Field(String(), "The voice, instead of the voice of `synthesizer`."),
    },
    dict,
)


@dataclass(frozen=True)
class SpeechValidator(Validator[Pcm]):
    """A validator of a text to say, which becomes a recording. Its context is the `SpeechSource`
    of its script.
    """

    def read(self, value: LocatedValue) -> Pcm:
        entries = SAY.read(value)
        source = value.context
        text = " ".join(entries["say"].split())  # some programs say only one line
        located = value.within("say") or value
        if names := sorted(names_in(text)):
            problem = (
                f"contains ${{{excerpt(names[0])}}}, but the words of a WAV are the same in all"
                " sessions"
            )
            raise located.refuse(f"{problem}: write the words, or list several texts")
        if not isinstance(source, SpeechSource) or source.synthesizer is None:
            problem = (
                "needs the key `synthesizer` in the script: the command or service that makes"
                " the WAV"
            )
            raise located.refuse(f"{problem}; see {see('scripts', 'speech-from-text')}")
        synthesizer = source.synthesizer
        voice = entries.get("voice", synthesizer.voice)
        if problem := synthesizer.problem(text, voice):
            raise located.refuse(problem)
        speech = source.speech(synthesizer, text, voice)
        is_missing = False
        with suppress(OSError):  # no permission: the reading of the file states it
            is_missing = not speech.path.exists()
        if is_missing:
            problem = f'the speech "{excerpt(text)}" is not synthesized yet: run {source.command}'
            raise value.error(problem) from MissingSpeechError(speech)
        try:
            return replace(load_wav(speech.path), text=text)
        except UsageError as error:
            raise value.error(f"{error}; delete this file and run {source.command}") from None

    def schema(self) -> Schema:
        return SAY.schema()


AUDIO = OrStruct(WAV, SpeechValidator())
"""The caller's audio: the path of a WAV, or a text to say."""
