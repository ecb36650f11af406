"""The options by which commands name a service and the way to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.target.endpoint import ServiceOptions

PANEL = "The service and the way to it"


def option(text: str, metavar: str | None = None) -> Any:
    """An option of this panel."""
    return typer.Option(help=text, metavar=metavar, rich_help_panel=PANEL)


def service_options(
    targets: Annotated[
        str | None, option("Call these targets of targets.yaml, as in west,east.quick.", "NAMES")
    ] = None,
    target_file: Annotated[
        Path | None, option("Read targets from this file instead of ./targets.yaml.", "FILE")
    ] = None,
    url: Annotated[
        str | None, option("WebSocket URL of any compatible server, instead of AZURE_OPENAI_ENDPOINT.")
    ] = None,
    dialect: Annotated[
        str | None,
        option(
            "ga, preview, voice-live, gpt-live, xai, inworld, qwen, glm or stepfun, if the address does not tell.",
            "NAME",
        ),
    ] = None,
    api_key_env: Annotated[str | None, option("Environment variable that holds the key.", "NAME")] = None,
    auth: Annotated[
        str | None,
        option(
            "key, basic, entra (DefaultAzureCredential), managed_identity, service_principal, workload_identity or "
            "azure_cli.",
            "KIND",
        ),
    ] = None,
    ca: Annotated[Path | None, option("A certificate authority (PEM) to trust.", "FILE")] = None,
    client_cert: Annotated[
        Path | None, option("Your own certificate (PEM), for a service that wants one.", "FILE")
    ] = None,
    client_key: Annotated[Path | None, option("Its private key, if that is in another file.", "FILE")] = None,
    proxy: Annotated[
        str | None, option("URL of a proxy (http://, socks5h:// …), or none (default: the environment's).", "URL")
    ] = None,
    resolve: Annotated[str | None, option("Connect to this address instead of looking the host up.", "ADDRESS")] = None,
    compression: Annotated[str | None, option("none (the default) or deflate.", "KIND")] = None,
    max_message_mib: Annotated[int | None, option("The largest message that is accepted (default: 16).", "MIB")] = None,
) -> ServiceOptions:
    """Read what these options say of the service. Raises UsageError."""
    from bench.target.endpoint import ServiceOptions

    return ServiceOptions(
        targets=_names(targets),
        target_file=target_file,
        url=url,
        dialect=dialect,
        api_key_env=api_key_env,
        auth=auth,
        ca=ca,
        client_cert=client_cert,
        client_key=client_key,
        proxy=proxy,
        resolve=resolve,
        compression=compression,
        max_message_mib=max_message_mib,
    )


def _names(listed: str | None) -> tuple[str, ...]:
    if listed is None:
        return ()
    names = tuple(name.strip() for name in listed.split(","))
    if not all(names):
        raise UsageError("--targets wants names of targets.yaml with commas between them, as in west,east")
    return names


def with_service_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options beside its own; it gets them as `ServiceOptions`, its argument `service_options`."""
    shared = _parameters(service_options)
    own = [parameter for parameter in _parameters(command) if parameter.name != "service_options"]

    def called(**given: Any) -> None:
        chosen = {parameter.name: given.pop(parameter.name) for parameter in shared}
        command(service_options=service_options(**chosen), **given)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]  # typer reads it
    return called


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters, by name alone, with their types; `ServiceOptions` is imported when a command is called."""
    hints = get_type_hints(function, localns={"ServiceOptions": object}, include_extras=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
    ]
