"""The upload of a run folder to a container of Azure Blob Storage, or to any server that accepts
HTTPS PUT.

Each file is sent by one request. In Azure Blob Storage, this request creates a block blob (Put
Blob: up to 5,000 MiB). It needs a header that other servers ignore. If the URL has a signature
(SAS), the signature authorizes the request. If the URL has no signature and the storage is Azure's,
the identity of this machine signs in.
"""

# run.json is sent last. A program that watches the destination may therefore begin when run.json
# appears, and a failed upload leaves no folder that looks like a run. To upload again is harmless,
# because each file is replaced.

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, responses
from pathlib import Path
from time import sleep
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, quote
from urllib.request import ProxyHandler, Request, build_opener

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.files.safe_io import is_regular, open_file
from bench.files.sanitize import escape_control, slug
from bench.record import folder as files
from bench.record.presence import may_close
from bench.record.writers import is_under_way
from bench.target.address import split_url
from bench.target.identity import Fetch, Token, fetch_token
from bench.target.target import EntraSignIn
from bench.wire.addresses import is_loopback

URL_VARIABLE = "LOCUST_UPLOAD"
"""The environment variable with the destination (`--upload`). Unlike options, lists of processes
do not show it."""
BLOB_HOSTS = {
    ".blob.core.windows.net": None,
    ".blob.storage.azure.net": None,
    ".blob.core.usgovcloudapi.net": "login.microsoftonline.us",
    ".blob.core.chinacloudapi.cn": "login.chinacloudapi.cn",
}
"""The ends of the host names of each cloud's storage, with its sign-in host; None for
azure-identity's default."""
STORAGE_SCOPE = "https://storage.azure.com/.default"
SERVICE_VERSION = "2021-08-06"
"""The version of the storage service's API. The service accepts tokens only with a version from
2017-11-09 on."""
TRIES = 4
FIRST_PAUSE_S = 1.0
LIMIT_S = 60.0
"""The number of tries, the first pause, which doubles from try to try, and the limit of each
step of a connection."""
SIGN_IN_RETRIES = 2
MIN_LIFE_NS = 60 * NS_PER_S
MAX_NAMED = 5
RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
REMEDIES = {
    401: "the identity belongs to another tenant, or the URL needs a signature (SAS)",
    403: (
        "a SAS must be valid now and permit create and write; an identity needs the role Storage"
        " Blob Data Contributor"
    ),
    404: "create the container first",
}


@dataclass(frozen=True)
class Destination:
    """The destination of files. The query of its URL may be a signature, so it is never stored
    or displayed.
    """

    address: str
    """The URL without the query, and without a slash at its end."""
    query: str = field(repr=False)
    sign_in: EntraSignIn | None
    """The sign-in; None if the URL has a signature, or if the storage is not Azure's."""

    def url_of(self, name: str) -> str:
        return f"{self.address}/{quote(name)}{self.query and '?'}{self.query}"


def destination_of(url: str, source: str) -> Destination:
    """Parse the URL of a destination. Raise UsageError if it is invalid, without its query,
    under the name `source`.
    """
    parts = split_url(url, "upload", source)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise UsageError(
            f"{source} must begin with https:// (http:// is only for servers on this machine)"
        )
    zone = next((zone for zone in BLOB_HOSTS if host.endswith(zone)), None)
    if zone and not parts.path.strip("/"):
        raise UsageError(f"{source} names no container: https://ACCOUNT{zone}/CONTAINER")
    signed = "sig" in parse_qs(parts.query)
    sign_in = (
        EntraSignIn(STORAGE_SCOPE, authority=BLOB_HOSTS[zone]) if zone and not signed else None
    )
    return Destination(
        f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", parts.query, sign_in
    )


class Uploaded(NamedTuple):
    """The result of an upload: the URL of the run's files, and the files that were left out."""

    address: str
    """The URL of the run's folder."""
    left_out: Sequence[Path]
    """Links and special files, which were not uploaded, relative to the run folder."""

    def lines(self) -> list[str]:
        names = ", ".join(path.as_posix() for path in self.left_out[:MAX_NAMED])
        more = len(self.left_out) - MAX_NAMED
        names += f" and {more} more" if more > 0 else ""
        left_out = (
            [f"not uploaded, because they are links or special files: {names}"]
            if self.left_out
            else []
        )
        return [escape_control(line) for line in (*left_out, f"uploaded to {self.address}")]


class Uploader:
    """The uploader of files to one destination. `fetch` gets a token. `wait` sleeps for seconds
    before the next try.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        fetch: Fetch = fetch_token,
        wait: Callable[[float], None] = sleep,
    ) -> None:
        self._destination = destination
        self._fetch = fetch
        self._sleep = wait
        self._token: Token | None = None
        # an address on this machine, which needs no proxy
        direct = destination.address.startswith("http:")
        self._opener = build_opener(ProxyHandler({} if direct else None))

    def upload(self, folder: Path) -> Uploaded:
        """Upload all files of a run, run.json last, so that if it has arrived, all others have,
        too.

        Links and special files are left out: a link can lead to any file of this machine. Raise
        UsageError if the folder is not a run, if the run is active, or if a file cannot be
        uploaded.
        """
        document = files.read_document(folder)
        if (folder / "run.json").is_symlink():
            raise UsageError(
                f"{folder / 'run.json'} is a link, and links are not uploaded: name the folder of"
                " its target"
            )
        if is_under_way(folder, document) and not may_close(folder):
            raise UsageError(
                f"the run of {folder} is still in progress: upload it when it has ended"
            )
        # the name contains the nanoseconds of the start, because independent machines may start in
        # the same second
        prefix = f"{folder.name}-{int(document['started_utc_ns']) % NS_PER_S:09d}"
        regular, left_out = files_of(folder)
        for path in regular:
            self._put(path, f"{prefix}/{path.relative_to(folder).as_posix()}")
        return Uploaded(f"{self._destination.address}/{prefix}", left_out)

    def _put(self, path: Path, name: str) -> None:
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                self._sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
            try:
                file = open_file(path, follow_link=False)
            except OSError as error:
                problem = "it became a link" if error.errno == errno.ELOOP else str(error.strerror)
                break
            try:
                with file:
                    headers = {
                        "x-ms-blob-type": "BlockBlob",
                        "Content-Type": "application/octet-stream",
                        "Content-Length": str(os.fstat(file.fileno()).st_size),
                    }
                    request = Request(
                        self._destination.url_of(name), file, headers | self._signed(), method="PUT"
                    )
                    self._opener.open(request, timeout=LIMIT_S).close()
            except HTTPError as error:
                error.close()
                problem = _response_text(error)
                if error.code not in RETRYABLE:
                    break
            except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
                problem = _error_text(error)
            else:
                return
        raise UsageError(
            f"{path} could not be uploaded to {self._destination.address}: {problem}; the folder is"
            " not removed"
        )

    def _signed(self) -> dict[str, str]:
        """Return the headers that sign in. Their token is valid for at least one more minute.
        Raise SignInError.
        """
        entra = self._destination.sign_in
        if entra is None:
            return {}
        if self._token is None or self._token.expires_ns < monotonic_ns() + MIN_LIFE_NS:
            self._token = self._fetch(entra, SIGN_IN_RETRIES)
        return dict([self._token.bearer.header()]) | {"x-ms-version": SERVICE_VERSION}


def files_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return (regular files of a run folder, run.json last; links and special files)."""
    document = folder / "run.json"
    regular = []
    left_out = []
    for path in sorted(folder.rglob("*")):  # rglob does not follow links to folders
        if is_regular(path):
            regular += [path] if path != document else []
        elif path.is_symlink() or not path.is_dir():
            left_out.append(path.relative_to(folder))
    return [*regular, document], left_out


def _response_text(error: HTTPError) -> str:
    """Return the HTTP status, Azure's error name, and the remedy of an error. Its body could
    quote the request.
    """
    error_name = slug(error.headers.get("x-ms-error-code") or "")
    text = " ".join(
        word for word in (str(error.code), error_name or responses.get(error.code, "")) if word
    )
    return f"{text} ({REMEDIES[error.code]})" if error.code in REMEDIES else text


def _error_text(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {LIMIT_S:.0f} s"
    return getattr(reason, "strerror", None) or type(reason).__name__
