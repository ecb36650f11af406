"""`rtbench upload RUN [URL]`: the folder of a run to a container of Azure Blob Storage, or to any HTTPS server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.plain import printable


def upload(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the run folder", show_default=False)],
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="https://ACCOUNT.blob.core.windows.net/CONTAINER, with ?SAS or signed in to; or any HTTPS server",
            envvar="LOCUST_UPLOAD",
            show_default=False,
        ),
    ],
) -> None:
    """Upload a run that ended or was killed, file by file, into a folder of its name. What is there is replaced.

    A container without a signature (SAS) in its URL is signed in to by Entra ID. The last line is the address.
    """
    from bench.run.upload import Uploader, destination_of

    sys.stdout.write(printable(f"uploaded to {Uploader(destination_of(url, 'URL')).upload(run)}") + "\n")
