from collections.abc import Sequence

from msgspec import Raw

from bench.wire.audio import Samples

def expanded(data: bytes, table: bytes) -> bytes: ...
def base64_content(raw: Raw, count: int) -> bytes | None: ...
def certain_lines(
    samples: Samples,
    window: bytes,
    bins: int,
    width: int,
    lowest: int,
    highest: int,
    lines: int,
    share: float,
) -> Sequence[int] | None: ...
