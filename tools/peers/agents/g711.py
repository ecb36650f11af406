"""G.711 (ITU-T G.711), by the table of each law."""

import numpy as np


def _ulaw() -> np.ndarray:
    inverted = ~np.arange(256) & 0xFF
    value = ((inverted & 15) << 3) + 132 << (inverted >> 4 & 7)
    return np.where(inverted & 0x80, 132 - value, value - 132)


def _alaw() -> np.ndarray:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, (code & 15) << 4
    value = np.where(exponent == 0, mantissa + 8, mantissa + 0x108 << np.maximum(exponent, 1) - 1)
    return np.where(code & 0x80, value, -value)


TABLES = {0: _ulaw(), 8: _alaw()}
"""The samples of all codes, by the payload type (RFC 3551)."""


def encode(samples: np.ndarray, payload_type: int = 0) -> np.ndarray:
    """Return the nearest codes of 16-bit samples."""
    return (
        np.abs(TABLES[payload_type][None] - samples.astype(np.int32)[:, None])
        .argmin(axis=1)
        .astype(np.uint8)
    )


def decode(payload: bytes, payload_type: int = 0) -> np.ndarray:
    """Return the 16-bit samples of codes."""
    return TABLES[payload_type][np.frombuffer(payload, np.uint8)].astype(np.int16)
