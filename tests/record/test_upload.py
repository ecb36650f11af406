"""The upload of a complete run folder to a container, file by file.

The URL of the container contains a signature, which is never displayed.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.record import folder as files
from bench.record import presence
from bench.record.document import SCHEMA_VERSION
from bench.record.upload import STORAGE_SCOPE, Uploader, destination_of
from bench.target.identity import Token
from bench.target.target import Credential, EntraSignIn
from tests.blob_server import blob_server
from tests.command_line import call

SIGNATURE = "a-signature-nobody-may-see"
BEGAN_NS = 1_763_632_440 * NS_PER_S + 123_456_789
AZURE = "https://account.blob.core.windows.net/runs"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run that has ended. The folder has the files that an upload reads."""
    folder = tmp_path / "20251120T091400Z-voice"
    (folder / "events").mkdir(parents=True)
    (folder / "turns.parquet").write_bytes(b"rows" * 50_000)
    (folder / "events" / "w0 1.jsonl").write_bytes(b"")
    write(folder, state="ended")
    return folder


def write(folder: Path, **changes: object) -> None:
    writer = {"host": socket.gethostname(), "pid": os.getpid()}
    document = {
        "schema": SCHEMA_VERSION,
        "run_id": folder.name,
        "started_utc_ns": BEGAN_NS,
        "writer": writer,
    }
    files.write_document(folder, document | changes)


def never(_: float) -> None:
    raise AssertionError("there was nothing to wait for")


def no_token(_: EntraSignIn, __: int) -> Token:
    raise AssertionError("no sign-in is expected")


def test_each_file_of_a_run_is_uploaded_as_a_block_blob_and_run_json_is_last(run: Path) -> None:
    with blob_server() as server:
        address = (
            Uploader(destination_of(f"{server.url}?sv=1&sig={SIGNATURE}", "URL"), wait=never)
            .upload(run)
            .address
        )

    name = f"/container/{run.name}-123456789"
    assert {put.path: put.body for put in server.puts} == {
        f"{name}/{path.relative_to(run)}": path.read_bytes()
        for path in run.rglob("*")
        if path.is_file()
    }
    assert server.puts[-1].path == f"{name}/run.json"
    assert {put.headers["x-ms-blob-type"] for put in server.puts} == {"BlockBlob"}
    assert all(put.target.endswith(f"?sv=1&sig={SIGNATURE}") for put in server.puts)
    assert address == server.url + name.removeprefix("/container")


def test_links_and_special_files_are_not_uploaded_and_are_named_before_the_address(
    run: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "elsewhere" / "id_rsa"
    secret.parent.mkdir()
    secret.write_text("a private key")
    (run / "report.html").symlink_to(secret)
    (run / "events" / "w0\x1b[2J.jsonl").symlink_to(secret)
    (run / "export").symlink_to(secret.parent)
    (run / "gone").symlink_to(tmp_path / "nothing")
    os.mkfifo(run / "pipe")
    with blob_server() as server:
        ended = call("runs", "upload", run, server.url)

    assert {Path(put.path).name for put in server.puts} == {
        "turns.parquet",
        "w0 1.jsonl",
        "run.json",
    }
    assert ended.exit_code == 0
    assert ended.stdout.splitlines() == [
        "not uploaded, because they are links or special files: "
        r"events/w0\x1b[2J.jsonl, export, gone, pipe, report.html",
        f"uploaded to {server.url}/{run.name}-123456789",
    ]


def test_a_long_list_of_links_is_cut_and_counted(run: Path) -> None:
    for number in range(8):
        (run / f"link-{number}").symlink_to(run / "turns.parquet")
    with blob_server() as server:
        output = call("runs", "upload", run, server.url).stdout.splitlines()[0]

    assert output.endswith(": link-0, link-1, link-2, link-3, link-4 and 3 more")


def test_a_file_that_becomes_a_link_while_others_are_uploaded_is_refused(
    run: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("a private key")

    def swap(_: float) -> None:
        (run / "turns.parquet").unlink()
        (run / "turns.parquet").symlink_to(secret)

    with blob_server() as server:
        server.answers = [503]  # the answer to the upload of the event log, which is the first file
        with pytest.raises(
            UsageError, match=r"turns\.parquet could not be uploaded to .*: it became a link"
        ):
            Uploader(destination_of(server.url, "URL"), wait=swap).upload(run)

    assert [Path(put.path).name for put in server.puts] == ["w0 1.jsonl"]


def test_a_run_whose_document_is_a_link_is_refused_before_anything_is_sent(
    run: Path, tmp_path: Path
) -> None:
    (run / "run.json").rename(tmp_path / "run.json")
    (run / "run.json").symlink_to(tmp_path / "run.json")
    with blob_server() as server:
        ended = call("runs", "upload", run, server.url)

    assert ended.exit_code != 0
    assert "run.json is a link" in str(ended.exception)
    assert server.puts == []


def test_a_refusal_is_not_retried_and_has_a_remedy(run: Path) -> None:
    with blob_server() as server:
        server.answers = [403]
        with pytest.raises(
            UsageError,
            match=r"403 No__Entry \(a SAS must be valid now and permit create and write;",
        ):
            Uploader(destination_of(server.url, "URL"), wait=never).upload(run)


def test_an_unreachable_server_is_a_usage_error(run: Path) -> None:
    with blob_server() as server:
        pass
    with pytest.raises(UsageError, match="Connection refused; the folder is not removed"):
        Uploader(destination_of(server.url, "URL"), wait=lambda _: None).upload(run)


def test_a_run_under_way_is_not_uploaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, state="running")
    presence.hold(run)
    with pytest.raises(UsageError, match="is still in progress"):
        Uploader(destination_of(AZURE, "URL"), fetch=no_token).upload(run)


def test_an_azure_container_without_a_signature_uses_a_token_and_renews_it(run: Path) -> None:
    asked: list[EntraSignIn] = []

    def fetch(entra: EntraSignIn, _: int) -> Token:
        asked.append(entra)
        ends_ns = monotonic_ns() + (3600 if len(asked) > 1 else 1) * NS_PER_S
        return Token(
            Credential("Authorization", f"token-{len(asked)}", "Bearer"), ends_ns, "a test"
        )

    with blob_server() as server:
        here = replace(destination_of(AZURE, "URL"), address=server.url)
        Uploader(here, fetch=fetch, wait=never).upload(run)

    assert [entra.scope for entra in asked] == [STORAGE_SCOPE] * 2
    assert [put.headers["authorization"] for put in server.puts] == [
        "Bearer token-1",
        "Bearer token-2",
        "Bearer token-2",
    ]
    assert all(put.headers["x-ms-version"] >= "2017-11-09" for put in server.puts)


@pytest.mark.parametrize("url", [f"{AZURE}?sv=1&sig={SIGNATURE}", "https://files.example.org/runs"])
def test_no_token_is_sent_with_a_signature_or_to_another_server(url: str) -> None:
    destination = destination_of(url, "URL")

    assert destination.sign_in is None
    assert SIGNATURE not in repr(destination)
