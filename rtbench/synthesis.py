"""The missing WAVs of scripts: each text to say is synthesized once, by a command or by a service.

A WAV is made in a temporary folder, and gets its place after the check that also applies to
recordings. So a failed synthesis leaves nothing. Texts from the command or the service may contain
secrets, which are hidden.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import msgspec
from msgspec import Struct

from bench.base.clock import monotonic_ns
from bench.base.errors import Mistakes, ScriptError, UsageError, each_error
from bench.base.units import NS_PER_S
from bench.files.safe_io import JsonError, read_json
from bench.files.sanitize import excerpt
from bench.files.values import get_object, get_text
from bench.load.planning.command_line import LOCUST_SUFFIX
from bench.plan.recordings import load_pcm
from bench.plan.script import Script, load_script
from bench.plan.synthesizer import CommandSynthesizer, HttpSynthesizer, SpeechText, missing_speech
from bench.target.target import Credential, redacted, variable_secret
from bench.wire.addresses import is_loopback

LIMIT_S = 120.0
"""The maximum duration of one synthesis. It includes the start of a program that loads a model."""
MAX_TEXTS = 1_000
"""The maximum number of WAVs that are made for one file. A task in Python could say a new text
in each rehearsal."""
MAX_WAV_BYTES = 256 << 20
MAX_HEADER_BYTES = 4_096
UNKNOWN_LENGTH = b"\xff\xff\xff\xff"
MAX_MESSAGE_BYTES = 64 << 10
BLOCK_BYTES = 64 << 10
STDERR_END_BYTES = 4 << 10
STDERR_LIMIT_S = 1.0
"""The maximum wait for the end of stderr after a command has ended. A process that it started
may keep stderr open."""
QUOTED_CHARACTERS = 200
OF_ONE_TEXT = frozenset({400, 413, 422})
"""The HTTP statuses that concern the text of a request. Other errors apply to all texts."""
_SECRET_NAME = re.compile(r"(key|token|secret|password)$", re.IGNORECASE)


class SynthesizerError(UsageError):
    """A failure that would repeat with each text, such as a program that is not installed."""


class SynthesizedFile(Struct):
    """The WAVs of one file's texts, those that were made now, and the number of those that are
    still missing.

    If `is_complete` is False, further WAVs may be missing.
    """

    texts: dict[Path, str] = {}
    made: set[Path] = set()
    not_made: int = 0
    is_complete: bool = True

    @property
    def summary(self) -> str:
        """The counts of the WAVs, as one line."""
        if self.not_made:
            return (
                f"{len(self.made)} made, {'' if self.is_complete else 'at least '}{self.not_made}"
                " not made"
            )
        return f"{len(self.made)} made, {len(self.texts.keys() - self.made)} already there"


def synthesize_file(
    path: Path, environ: Mapping[str, str], show: Callable[[str], None]
) -> tuple[SynthesizedFile, list[UsageError]]:
    """Make the missing WAVs of a script or a Locust file. Return the WAVs, and the failures.

    If the file has any other mistake, nothing is made, and UsageError is raised.
    """
    result = SynthesizedFile()
    mistakes = Mistakes()
    while True:  # a rehearsal ends at its first missing WAV, so a task in Python needs several
        try:
            scripts = _scripts_of(path)
            break
        except UsageError as error:
            missing = _missing(error)
        if len(result.made) + len(missing) > MAX_TEXTS:
            raise UsageError(
                f"{path} has more than {MAX_TEXTS:,} different texts to say: reduce them"
            )
        pending = dict(missing)
        for place, (where, speech) in missing.items():
            try:
                seconds = make_wav(speech, environ)
            except UsageError as error:
                mistakes.errors.append(_located(where, error))
                if isinstance(error, SynthesizerError):
                    break
            else:
                del pending[place]
                result.texts[place] = speech.text
                result.made.add(place)
                show(f'{place}: made, {seconds:.2f} s: "{excerpt(speech.text)}"')
        if mistakes.errors:
            result.not_made = len(pending)
            result.is_complete = path.suffix != LOCUST_SUFFIX
            return result, mistakes.errors
    for place, text in _texts_of(scripts):
        if place not in result.texts:
            result.texts[place] = text
            show(f'{place}: already there: "{excerpt(text)}"')
    return result, []


def unused_wavs(results: Iterable[SynthesizedFile]) -> list[Path]:
    """Return the synthesized WAVs in the folders of these files that belong to none of their
    texts.
    """
    used = {place.resolve() for result in results for place in result.texts}
    folders = sorted({place.parent for place in used})
    return [
        wav
        for folder in folders
        for wav in sorted(folder.glob("[0-9a-f]" * 16 + ".wav"))
        if wav not in used
    ]


def make_wav(speech: SpeechText, environ: Mapping[str, str], *, limit_s: float = LIMIT_S) -> float:
    """Make the WAV of a text, and return its duration in seconds.

    Raise UsageError if that fails; SynthesizerError if it would fail with each text.
    """
    folder = speech.path.parent
    is_new = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder, prefix=".", ignore_cleanup_errors=True
        ) as scratch:
            file = Path(scratch).resolve() / speech.path.name
            if isinstance(speech.synthesizer, CommandSynthesizer):
                maker = speech.synthesizer.command[0]
                _run_command(speech.synthesizer, speech, file, environ, limit_s)
            else:
                maker = urlsplit(speech.synthesizer.url).netloc
                _request_wav(speech.synthesizer, speech, file, environ, limit_s)
            try:
                seconds = load_pcm(file).seconds
            except UsageError as error:
                # the remedy needs the file
                problem, *_ = str(error).removeprefix(f"{file}: ").split("; ")
                raise UsageError(f"the WAV that {maker} made {problem}") from None
            os.replace(file, speech.path)
            return seconds
    except OSError as error:
        raise SynthesizerError(
            f"{speech.path} cannot be written: {error.strerror or error}"
        ) from None
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it contains a WAV
                folder.rmdir()


def _scripts_of(path: Path) -> list[Script]:
    if path.suffix != LOCUST_SUFFIX:
        return [load_script(path)]
    from bench.load.locust_file import locust_file_scripts

    return locust_file_scripts(path)


def _texts_of(scripts: Iterable[Script]) -> Iterator[tuple[Path, str]]:
    """Yield (WAV, its text) for each text to say."""
    for script in scripts:
        for step in script.steps:
            yield from ((pcm.path, pcm.text) for pcm in step.recordings if pcm.text)


def _missing(error: UsageError) -> dict[Path, tuple[UsageError, SpeechText]]:
    """Return the missing WAVs, each with its first error and its text. Raise the other errors."""
    missing: dict[Path, tuple[UsageError, SpeechText]] = {}
    others = Mistakes()
    for problem in each_error(error):
        assert isinstance(problem, UsageError)
        if speech := missing_speech(problem):
            missing.setdefault(speech.path, (problem, speech))
        else:
            others.errors.append(problem)
    others.refuse()
    return missing


def _located(where: UsageError, failure: UsageError) -> UsageError:
    """Return a failure with the position of the text that could not be synthesized."""
    if isinstance(where, ScriptError):
        return ScriptError(where.path, where.line, str(failure), where.column)
    return failure


# A command.


def _run_command(
    synthesizer: CommandSynthesizer,
    speech: SpeechText,
    file: Path,
    environ: Mapping[str, str],
    limit_s: float,
) -> None:
    """Run a command in the folder of the script until it has ended. Raise UsageError if it
    fails, or writes no file.
    """
    program = f"the synthesizer {excerpt(synthesizer.command[0], QUOTED_CHARACTERS)}"
    # a file, because a command that reads no input would block a pipe
    with tempfile.TemporaryFile() as stdin:
        if synthesizer.reads_text_from_stdin:
            stdin.write(f"{speech.text}\n".encode())
            stdin.seek(0)
        try:
            process = subprocess.Popen(
                synthesizer.words(speech.text, speech.voice, file),
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=speech.path.parent.parent,
                env=dict(environ),
                start_new_session=True,
            )
        except FileNotFoundError:
            remedy = "install it, or change `command` of `synthesizer`"
            raise SynthesizerError(f"{program} is not installed: {remedy}") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in a word
            reason = getattr(error, "strerror", None) or error
            raise SynthesizerError(f"{program} cannot be started ({reason})") from None
    assert process.stderr is not None
    ending = bytearray()
    reader = Thread(target=_keep_ending, args=(process.stderr, ending), daemon=True)
    reader.start()
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise SynthesizerError(
            f"{program} did not end within {limit_s:g} s, so it was stopped"
        ) from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        reader.join(STDERR_LIMIT_S)
    if status == 0 and os.path.lexists(file):
        return
    lines = [line for line in bytes(ending).decode(errors="replace").splitlines() if line.strip()]
    text = _public(lines[-1].strip(), environ) if lines else "it printed no message"
    if status == 0:
        raise UsageError(f"{program} wrote no WAV to {{file}}: {text}")
    raise UsageError(
        f"{program} failed ({f'status {status}' if status > 0 else f'signal {-status}'}): {text}"
    )


def _keep_ending(stream: IO[bytes], ending: bytearray) -> None:
    """Read a stream to its end. Keep its last bytes."""
    with stream:
        while block := stream.read(BLOCK_BYTES):
            ending += block
            del ending[:-STDERR_END_BYTES]


# A service.


class _NoRedirects(HTTPRedirectHandler):
    """A handler that follows no redirect, because the key is only for the host of the URL."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _request_wav(
    synthesizer: HttpSynthesizer,
    speech: SpeechText,
    file: Path,
    environ: Mapping[str, str],
    limit_s: float,
) -> None:
    """Request the speech of a text, and write the response to `file`. Raise UsageError if that
    fails.
    """
    host = urlsplit(synthesizer.url).netloc
    body = {
        "model": synthesizer.model,
        "input": speech.text,
        "voice": speech.voice,
        "response_format": "wav",
    }
    headers = {"Content-Type": "application/json", "User-Agent": "rtbench"}
    secrets = list[Credential]()
    if synthesizer.api_key_env is not None:
        try:
            key = variable_secret(
                synthesizer.api_key_env, environ, "synthesizer.api_key_env", "API key"
            )
        except UsageError as error:
            raise SynthesizerError(str(error)) from None
        _, value = key.header()
        name, scheme = synthesizer.key_header
        headers[name] = f"{scheme} {value}".strip()
        secrets.append(key)
    direct = is_loopback(urlsplit(synthesizer.url).hostname or "")
    opener = build_opener(ProxyHandler({} if direct else None), _NoRedirects())
    request = Request(synthesizer.url, msgspec.json.encode(body), headers, method="POST")
    until_ns = monotonic_ns() + int(limit_s * NS_PER_S)
    try:
        with opener.open(request, timeout=limit_s) as response:
            _save_body(response, file, until_ns, host)
        _state_length(file)
    except HTTPError as error:
        with error:
            text = _message(error)
        problem = f"{host} returned HTTP {error.code}"
        problem += f": {_public(text, environ, secrets)}" if text else ""
        raise (UsageError if error.code in OF_ONE_TEXT else SynthesizerError)(problem) from None
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise SynthesizerError(f"{host} sent no complete WAV within {limit_s:g} s") from None
        text = getattr(reason, "strerror", None) or type(reason).__name__
        raise SynthesizerError(
            f"{host} cannot be reached, or closed the connection: {text}"
        ) from None


def _save_body(response: HTTPResponse, file: Path, until_ns: int, host: str) -> None:
    """Write the body of a response to a file. Raise TimeoutError after `until_ns`, and
    UsageError if it is cut.
    """
    size = 0
    with file.open("wb") as wav:
        while block := response.read1(BLOCK_BYTES):
            size += len(block)
            if size > MAX_WAV_BYTES:
                raise UsageError(
                    f"{host} sent more than {MAX_WAV_BYTES >> 20} MiB, which is no speech of a turn"
                )
            if monotonic_ns() > until_ns:
                raise TimeoutError
            wav.write(block)
    if response.length:  # the header of the WAV may state no length, which hides the cut
        raise UsageError(
            f"{host} closed the connection {response.length} bytes before the end of the WAV"
        )


def _state_length(file: Path) -> None:
    """Write the lengths into the header of a WAV that was streamed, and so states the maximum."""
    size = file.stat().st_size
    with file.open("r+b") as wav:
        header = wav.read(MAX_HEADER_BYTES)
        data = header.find(b"data" + UNKNOWN_LENGTH)
        if header[4:8] != UNKNOWN_LENGTH or data < 0:
            return
        for position in (4, data + 4):
            wav.seek(position)
            wav.write((size - position - 4).to_bytes(4, "little"))


def _message(error: HTTPError) -> str:
    """Return the message in the body of an error response; "" if there is none."""
    try:
        body = error.read(MAX_MESSAGE_BYTES)
    except (HTTPException, OSError):
        return ""
    try:
        content = read_json(body, numbers=False)
    except JsonError:
        return " ".join(body.decode(errors="replace").split())
    if not isinstance(content, dict):
        return ""
    texts = (
        get_text(get_object(content, "error"), "message", MAX_MESSAGE_BYTES),
        *(get_text(content, name, MAX_MESSAGE_BYTES) for name in ("error", "message", "detail")),
    )
    return next(filter(None, texts), "")


def _public(text: str, environ: Mapping[str, str], secrets: Iterable[Credential] = ()) -> str:
    """Return a text from a command or service, without secrets, on one short line."""
    of_environment = (
        Credential(name, value) for name, value in environ.items() if _SECRET_NAME.search(name)
    )
    return excerpt(redacted(text, [*secrets, *of_environment]), QUOTED_CHARACTERS)
