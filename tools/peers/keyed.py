"""`rtbench run`, which also writes the SRTP keys of its calls over WebRTC into a file, as
`SSLKEYLOGFILE` does for TLS.

The first argument is the file. Each line is the keying material of one call (RFC 5764 §4.2), in
hexadecimal.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from OpenSSL import SSL


def write_keys(path: Path) -> None:
    """Let each connection of DTLS write what it exports."""
    export = SSL.Connection.export_keying_material

    def exported(
        connection: SSL.Connection, label: bytes, olen: int, context: bytes | None = None
    ) -> bytes:
        material = export(connection, label, olen, context)
        with path.open("a", encoding="ascii") as file:
            file.write(material.hex() + "\n")
        return material

    setattr(SSL.Connection, export.__name__, exported)


if __name__ == "__main__":
    write_keys(Path(sys.argv.pop(1)))
    runpy.run_module("rtbench.run_process", run_name="__main__", alter_sys=True)
