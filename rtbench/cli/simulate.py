"""`rtbench simulate`: a local server that speaks the dialects of the services and knows the
ground truth.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import tomllib
from contextlib import nullcontext
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from bench.base.clock import monotonic_ns
from bench.base.errors import FAIL_STATUS, UsageError, see
from bench.base.installation import PACKAGE_ROOT
from bench.base.standard_streams import StatusLine, print_notice
from bench.files.safe_io import replace_text
from bench.target.target_settings import SIMULATOR_PORT
from rtbench.cli.options import option

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from rtbench_simulator.ground_truth_log import ServedCounts
    from rtbench_simulator.profile import Profile
    from rtbench_simulator.ready import ReadyDocument
    from rtbench_simulator.serving.credentials import Authenticator, TokenIssuer
    from rtbench_simulator.serving.service import ServerConfig


CLIENTS = Path(PACKAGE_ROOT, "rtbench_simulator", "clients.toml")
SEED = 2
"""The seed of a simulator if none is chosen. Its first calls have neither a missing reply nor a
cut-in, as most calls do."""


def simulate(
    host: Annotated[str, option("Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, option("Port to listen on; 0: any free port.", min=0, max=65535)
    ] = SIMULATOR_PORT,
    tls: Annotated[bool, option("Serve wss with a self-made certificate for loopback.")] = False,
    ca_out: Annotated[
        Path | None, option("Where to write the certificate authority to trust (with --tls).")
    ] = None,
    profile: Annotated[
        Path | None,
        option("YAML file of delays and behaviour, or a preset; by default gpt-realtime."),
    ] = None,
    from_run: Annotated[
        str | None, option("Use the delays and the pace that this run measured.", "RUN[:TARGET]")
    ] = None,
    from_run_step: Annotated[
        str | None, option("With --from-run: use only the turns of this step.")
    ] = None,
    seed: Annotated[int, option("Seed of all delays and replies.", min=0)] = SEED,
    ttfa_p50_ms: Annotated[
        float | None,
        option("Median time to first audio, instead of the profile's.", min=0.001, max=60_000),
    ] = None,
    capacity: Annotated[
        int | None,
        option(
            "Concurrent calls above which each further one makes responses 10 % slower.", "N", min=1
        ),
    ] = None,
    speed: Annotated[
        float | None, option("Seconds of audio generated per second.", min=0.1, max=1000)
    ] = None,
    key: Annotated[str | None, option("Require this key (default: accept every client).")] = None,
    token_lifetime: Annotated[
        float | None,
        option(
            "Require access tokens with this lifetime in seconds, and serve an endpoint that issues"
            " them.",
            min=0.5,
            max=86_400,
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        option(
            "Inject this fault, as in close,code=1011,share=0.1; may be repeated. See"
            f" {see('simulator', 'faults')}."
        ),
    ] = None,
    dial: Annotated[
        str,
        option("SIP URI that the agent calls again and again (an agent that dials).", "URI"),
    ] = "",
    lines: Annotated[
        int, option("With --dial: the number of calls at the same time.", min=1, max=250)
    ] = 1,
    deflate: Annotated[bool, option("Compress messages if the client offers it.")] = False,
    workers: Annotated[
        int,
        option("Processes that share the port, for more load than one core serves.", min=1, max=64),
    ] = 1,
    clients: Annotated[bool, option("Print the code that connects each SDK to it.")] = False,
    ground_truth: Annotated[
        Path | None, option("Log what was sent and received, and when, as JSON lines.")
    ] = None,
    ready_file: Annotated[
        Path | None, option("Write JSON with port and URLs to this file when it listens.")
    ] = None,
) -> None:
    """Serve a SIMULATED Realtime API on this machine, to try the tool and to check its values."""
    from rtbench_simulator.faults.kinds import read_line
    from rtbench_simulator.ground_truth_log import GroundTruthLog, summary
    from rtbench_simulator.ready import IdentityEntry, ready_document
    from rtbench_simulator.recorded_replies import load_replies
    from rtbench_simulator.services.registry import SERVICES
    from rtbench_simulator.serving.credentials import Authenticator, TokenIssuer
    from rtbench_simulator.serving.server import listen
    from rtbench_simulator.serving.service import ServerConfig
    from rtbench_simulator.serving.token_issuer import IdentityEndpoint
    from rtbench_simulator.serving.workers import WorkerDiedError, reserve

    faults = [read_line(line) for line in fault or ()]
    chosen = _profile(profile, from_run, from_run_step).adjusted(
        ttfa_p50_ms=ttfa_p50_ms, speed=speed, capacity=capacity, faults=faults
    )
    tokens = None if token_lifetime is None else TokenIssuer(token_lifetime, secrets.token_urlsafe)
    if key == "":
        raise UsageError(
            "--key: the key is empty: give a key, or leave --key out to accept every client"
        )
    identity = (
        None
        if tokens is None
        else IdentityEndpoint(tokens, secrets.token_urlsafe(), chosen.faults, seed)
    )
    if ready_file:
        _clear(ready_file)
    _reject_impossible(chosen, tls, ca_out, tokens, workers)
    own_folder = (
        tempfile.TemporaryDirectory(prefix="rtbench-") if tls and not ca_out else nullcontext()
    )
    with (
        own_folder as folder,
        listen(host, port) if workers == 1 else reserve(host, port) as listener,
    ):
        ca = Path(folder) / "ca.pem" if folder else ca_out
        log = GroundTruthLog(ground_truth, chosen.name, seed) if ground_truth else None
        tls_context = _tls(ca) if ca else None
        authenticator = Authenticator(key, tokens)
        bound_address, bound_port = listener.getsockname()[:2]
        offer = ServerConfig(
            chosen,
            load_replies(),
            seed,
            authenticator,
            tls_context,
            deflate,
            log,
            identity,
            dial,
            lines,
            services=SERVICES,
        )

        def ready(endpoint: str | None, pids: list[int]) -> None:
            tokens_at = IdentityEntry(endpoint, identity.secret) if identity else None
            document = ready_document(host, bound_port, ca, tokens_at, pids, chosen.name)
            if open_to := exposed(bound_address, authenticator, workers):
                print_notice(open_to)
            if clients:
                ws = document.urls["openai"].partition("/v1/")[0]
                typer.echo(
                    "\n".join(
                        to_paste(ws, document.ca, keyed=offer.authenticator.requires_credentials)
                    )
                )
            _announce(document, chosen, seed, ready_file)

        try:
            typer.echo(summary(_served(offer, listener, workers, ready)))
        except WorkerDiedError as died:
            print_notice(str(died))
            raise typer.Exit(FAIL_STATUS) from None
        finally:
            if log:
                log.close()


def exposed(address: str, authenticator: Authenticator, workers: int) -> str:
    """Return a warning if others can use the simulator without a key, or "". `address` is that
    of the bound socket.
    """
    from bench.wire.addresses import is_loopback

    services = [] if authenticator.requires_credentials else ["sessions"]
    services += ["telephone calls"] if authenticator.key is None and workers == 1 else []
    if not services or is_loopback(address):
        return ""
    services_text = " and ".join(services)
    return (
        f"everyone who reaches {address} may open {services_text}: add --key KEY, or listen on"
        " --host 127.0.0.1"
    )


def _served(
    offer: ServerConfig,
    listener: socket.socket,
    workers: int,
    ready: Callable[[str | None, list[int]], None],
) -> list[ServedCounts]:
    """Serve until the server ends. If there is a terminal, show a status line."""
    from rtbench_simulator.ground_truth_log import LiveView
    from rtbench_simulator.serving.server import serve
    from rtbench_simulator.serving.workers import serve_by_workers

    line = StatusLine(sys.stderr, os.environ)
    view = LiveView(line)
    on_progress = (
        (lambda number, standing: view.update(number, standing, monotonic_ns()))
        if line.in_place
        else None
    )
    try:
        if workers == 1:
            return [serve(offer, listener, ready, on_progress=on_progress)]
        return serve_by_workers(offer, listener, workers, ready, on_progress)
    finally:
        line.clear()


def _clear(ready_file: Path) -> None:
    """Remove the ready file of an earlier run, because programs wait for it. Raise UsageError if
    it is not writable.
    """
    try:
        ready_file.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--ready-file {ready_file} cannot be written: {error.strerror}") from None
    if not os.access(ready_file.parent, os.W_OK):
        raise UsageError(
            f"--ready-file {ready_file} cannot be written: its folder does not exist, or is"
            " read-only"
        )


def _profile(path: Path | None, like: str | None, step: str | None) -> Profile:
    from rtbench_simulator.profile import load_profile, usual_profile

    if step is not None and like is None:
        raise UsageError("--from-run-step needs --from-run, which names the run")
    if like is None:
        return load_profile(path) if path else usual_profile()
    if path is not None:
        raise UsageError("give --profile or --from-run, not both")
    from bench.record.run_list import split_name
    from reports.data.runs import load_frames
    from rtbench.simulator_profile import simulator_profile

    folder, target = split_name(like)
    return simulator_profile(load_frames(folder), target, step)


def _reject_impossible(
    profile: Profile, tls: bool, ca_out: Path | None, tokens: TokenIssuer | None, workers: int
) -> None:
    """Raise UsageError for options and faults that have no effect, and for limits that workers
    do not share.
    """
    from rtbench_simulator.faults.kinds import IDENTITY
    from rtbench_simulator.quota import UNLIMITED

    if ca_out and not tls:
        raise UsageError("--ca-out needs --tls: without it there is no certificate authority")
    for fault in profile.faults:
        if fault.at == "tls" and not tls:
            raise UsageError(f"the fault {fault} needs --tls: without it there is no TLS handshake")
        if fault.at == IDENTITY and tokens is None:
            raise UsageError(
                f"the fault {fault} needs --token-lifetime: without it there is no identity"
                " endpoint"
            )
    if workers == 1:
        return
    unset = {
        "quota": UNLIMITED,
        "max_concurrent_responses": None,
        "max_sessions": None,
        "slowdown": None,
    }
    for name, value in unset.items():
        if getattr(profile, name) != value:
            raise UsageError(
                f"--workers: profile {profile.name} has {name}, which workers do not share; use one"
                " worker"
            )
    if tokens is not None:
        raise UsageError(
            "--workers cannot be used with --token-lifetime: workers do not share the tokens; use"
            " one worker"
        )


def _tls(ca: Path) -> Any:
    from rtbench_simulator.serving.certificates import loopback_tls

    try:
        return loopback_tls(ca)
    except OSError as error:
        raise UsageError(
            f"{ca}: the certificate authority cannot be written: {error.strerror}"
        ) from error


def announced_urls(urls: Mapping[str, str]) -> dict[str, str]:
    """Return the URLs of the simulated services and their notes, by their titles."""
    from rtbench_simulator.services.registry import SERVICES

    titles = {title: service.note for service in SERVICES for title in service.titles.values()}
    named = {name: title for service in SERVICES for name, title in service.titles.items()}
    texts = {
        title: ", ".join(url for name, url in urls.items() if named.get(name) == title)
        for title in titles
    }
    return {title: f"{text}  {titles[title]}".rstrip() for title, text in texts.items()}


def _announce(
    document: ReadyDocument, profile: Profile, seed: int, ready_file: Path | None
) -> None:
    truth = (
        "It has the published latencies, missing replies and cut-ins of a real service"
        " (--profile quiet: none)."
        if profile.published.voice_to_voice_ms
        else "Its delays are assumptions, not those of a service."
    )
    identity = document.identity
    ready = json.dumps(msgspec.to_builtins(document))
    urls = [f"  {title:13}  {text}" for title, text in announced_urls(document.urls).items()]
    lines = [
        f"SIMULATED Realtime API: profile {profile.name}, seed {seed}. {truth}",
        *urls,
        "  WebRTC         the address of Azure GA, OpenAI or GPT-Live, with transport: webrtc",
        *([f"  trust          {document.ca}"] if document.ca else []),
        *([f"  tokens         IDENTITY_ENDPOINT={identity.endpoint}"] if identity else []),
        *([f"                 IDENTITY_HEADER={identity.header}"] if identity else []),
        *(f"  fault          {fault}" for fault in profile.faults),
        "  Ctrl-C ends it.",
        f"READY on port {document.port}" if sys.stdout.isatty() else f"READY {ready}",
    ]
    typer.echo("\n".join(lines))
    sys.stdout.flush()
    if ready_file is None:
        return
    try:
        # so that a program that waits for the file never reads a part of it
        replace_text(ready_file, f"{ready}\n")
    except OSError as error:
        raise UsageError(
            f"{ready_file}: the ready file cannot be written: {error.strerror}"
        ) from error


class ClientSnippet(msgspec.Struct):
    """The code that connects a client. A `secure` one connects only with wss."""

    name: str
    code: str
    secure: bool = False

    def lines(self, ws: str, key: str) -> list[str]:
        """Return its lines for the address `ws`, such as `ws://127.0.0.1:8765`."""
        http = ws.replace("ws", "http", 1)
        return Template(self.code).substitute(ws=ws, http=http, key=key).splitlines()


def client_snippets() -> list[ClientSnippet]:
    content = tomllib.loads(CLIENTS.read_text(encoding="utf-8"))
    return msgspec.convert(content["clients"], list[ClientSnippet])


def to_paste(ws: str, ca: str | None, *, keyed: bool) -> list[str]:
    """Return the code lines of all clients, each client under its heading.

    `keyed` is True if clients need a key. The key is not shown.
    """
    key = "YOUR-KEY" if keyed else "any"
    lines = [f"trust: export SSL_CERT_FILE={ca} NODE_EXTRA_CA_CERTS={ca}"] if ca else []
    for client in client_snippets():
        needs = (
            " (supports only wss: start the simulator with --tls)"
            if client.secure and ca is None
            else ""
        )
        lines += [f"{client.name}{needs}", *(f"  {line}" for line in client.lines(ws, key))]
    return lines
