import numpy as np
from msgspec import Raw
from numpy.typing import NDArray

def expanded(data: bytes, table: bytes) -> bytes: ...
def base64_content(raw: Raw, count: int) -> bytes | None: ...
def is_no_tone(
    values: NDArray[np.float64],
    bins: int,
    first: int,
    lowest: int,
    highest: int,
    lines: int,
    share: float,
) -> bool: ...
