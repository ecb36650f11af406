"""The samples of one channel in a temporary file, because a call of two hours would fill the memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable

import numpy as np

from bench.wire.audio import Samples


class StoredSamples:
    """Samples in a nameless temporary file, which ends with its last use. Raises OSError if it cannot be written."""

    def __init__(self, blocks: Iterable[Samples] = ()) -> None:
        self._file, name = tempfile.mkstemp(prefix="rtbench-")
        weakref.finalize(self, os.close, self._file)
        os.unlink(name)
        self._length = 0
        for block in blocks:
            self.append(block)

    def append(self, samples: Samples) -> None:
        data = samples.astype(np.int16).tobytes()
        while data:
            data = data[os.write(self._file, data) :]
        self._length += len(samples)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice, /) -> Samples:
        start, stop, _ = part.indices(self._length)
        size = np.dtype(np.int16).itemsize
        return np.frombuffer(os.pread(self._file, max(0, stop - start) * size, start * size), np.int16)
