"""`rtbench simulate`: a local server that speaks the service's dialects, with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bench.simulator.profile import Profile


def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    tls: Annotated[bool, typer.Option("--tls", help="Serve wss with a self-made certificate for localhost.")] = False,
    ca_out: Annotated[
        Path | None, typer.Option(help="Where to write the certificate authority to trust (with --tls).")
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="YAML file of delays; see bench/simulator/profiles.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all delays and replies.")] = 1,
    ttfa_p50_ms: Annotated[
        float | None, typer.Option(min=0.001, max=60_000, help="Median time to first audio, instead of the profile's.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.1, max=1000, help="Seconds of audio generated in a second.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Ask clients for this key. Without one anything goes.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Ask for the key in this environment variable.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Log what was sent and received, and when, as JSON lines.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Write JSON with port and URLs here, once listening.")] = None,
) -> None:
    """Serve a SIMULATED Realtime API on this machine, for trying the tool and for checking its figures."""
    from bench.errors import UsageError
    from bench.simulator.server import Offer, listen, serve
    from bench.simulator.truth import TruthLog
    from bench.simulator.voice import load_replies

    chosen = _profile(profile).adjusted(ttfa_p50_ms=ttfa_p50_ms, speed=speed)
    wanted_key = _key(key, key_env)
    if ready_file:
        _clear(ready_file)
    if ca_out and not tls:
        raise UsageError("--ca-out goes with --tls: without it there is no authority to trust")
    listener = listen(host, port)
    with listener:
        ca = _ca_file(ca_out) if tls else None
        log = TruthLog(truth, chosen.name, seed) if truth else None
        offer = Offer(chosen, load_replies(), seed, wanted_key, _tls(ca) if ca else None, log)
        facts = _facts(host, listener.getsockname()[1], ca)
        try:
            typer.echo(serve(offer, listener, lambda: _announce(facts, chosen.name, seed, ready_file)))
        finally:
            if log:
                log.close()


def _clear(ready_file: Path) -> None:
    """One of an earlier run would deceive whoever waits for it; and a path that takes no file is said at once."""
    import os

    from bench.errors import UsageError

    try:
        ready_file.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--ready-file {ready_file} cannot be written: {error.strerror}") from None
    if not os.access(ready_file.parent, os.W_OK):
        raise UsageError(f"--ready-file {ready_file} cannot be written: its folder is not there, or read-only")


def _profile(path: Path | None) -> Profile:
    from bench.simulator.profile import default_profile, load_profile

    return load_profile(path) if path else default_profile()


def _key(key: str | None, key_env: str | None) -> str | None:
    import os

    from bench.errors import UsageError

    if key is not None and key_env is not None:
        raise UsageError("give --key or --key-env, not both")
    if key_env is not None:
        key = os.environ.get(key_env)
        if not key:
            raise UsageError(f"--key-env: the environment variable {key_env} is not set, or empty")
    if key == "":
        raise UsageError("--key: an empty key would let nobody in; leave it out to let everybody in")
    return key


def _ca_file(ca_out: Path | None) -> Path:
    import tempfile

    return ca_out or Path(tempfile.mkdtemp(prefix="rtbench-")) / "ca.pem"


def _tls(ca: Path) -> Any:
    from bench.errors import UsageError
    from bench.simulator.tls import loopback_tls

    try:
        return loopback_tls(ca)
    except OSError as error:
        raise UsageError(f"{ca}: the certificate authority cannot be written: {error.strerror}") from error


def _facts(host: str, port: int, ca: Path | None) -> dict[str, Any]:
    """The content of the ready file. The URLs are complete: a client only adds its key."""
    import os

    scheme, place = "wss" if ca else "ws", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    preview = "api-version=2025-04-01-preview&deployment=gpt-4o-realtime-preview"
    urls = {
        "ga": f"{scheme}://{place}/openai/v1/realtime?model=gpt-realtime",
        "preview": f"{scheme}://{place}/openai/realtime?{preview}",
        "openai": f"{scheme}://{place}/v1/realtime?model=gpt-realtime",
    }
    facts = {"simulated": True, "pid": os.getpid(), "port": port, "tls": ca is not None}
    return facts | {"ca": str(ca) if ca else None, "urls": urls}


def _announce(facts: dict[str, Any], profile: str, seed: int, ready_file: Path | None) -> None:
    import json
    import sys

    lines = [
        f"SIMULATED Realtime API: delays are assumptions (profile {profile}, seed {seed}), not the service's.",
        f"  Azure GA       {facts['urls']['ga']}",
        f"  Azure preview  {facts['urls']['preview']}",
        f"  OpenAI         {facts['urls']['openai']}  (preview with the header OpenAI-Beta: realtime=v1)",
        *([f"  trust          {facts['ca']}"] if facts["ca"] else []),
        "  Ctrl-C ends it.",
        f"READY {json.dumps(facts)}",
    ]
    typer.echo("\n".join(lines))
    sys.stdout.flush()
    if ready_file:
        _write_whole(ready_file, json.dumps(facts))


def _write_whole(path: Path, text: str) -> None:
    """So that whoever waits for the file never reads a part of it."""
    from bench.errors import UsageError

    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text + "\n")
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: the ready file cannot be written: {error.strerror}") from error
