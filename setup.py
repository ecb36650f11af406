"""The modules that are compiled: the code that runs for each message, packet or sample.

Without a compiler and Python's headers they are left out, and their interpreted twins run
(`bench/base/compiled.py`). `pyproject.toml` has everything else about the package.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

STAMPS = "bench/transport/fast/stamps.pxi"
BASE64 = "bench/wire/base64.pxi"
OPTIONS = ["-g0", "-ffp-contract=off"]  # the same rounding as in Python
OF_SAMPLES = ("bench/sound/", "bench/wire/")
"""The folders whose loops over samples and characters pay for the slower compilation of `-O3`."""
DIRECTIVES = {"auto_pickle": False}
"""No object of these modules is pickled: without that code, compilers take a fifth less time."""
MODULES = {
    # the files that a source includes; the longest source first, so that no core waits at the end
    "bench/sound/_blocks.pyx": [],
    "bench/transport/fast/_compiled.pyx": [STAMPS, BASE64],
    "bench/protocols/rtp/_packets.pyx": [],
    "bench/transport/fast/_sending.pyx": [],
    "bench/transport/ring/_ring.pyx": [STAMPS, "bench/transport/ring/uring.h"],
    "bench/transport/_datagrams.pyx": [],
    "bench/wire/_audible.pyx": [BASE64],
    "bench/transport/_loop.pyx": [],
}


class BuildAtOnce(build_ext):
    """A build that uses all cores."""

    def build_extensions(self) -> None:
        compiler = self.compiler.compiler_so[0]
        if not shutil.which(compiler) or not any(
            Path(folder, "Python.h").exists() for folder in self.include_dirs
        ):
            return
        from Cython.Build import cythonize  # two of the three processes of pip do not build

        # all C files, in processes: no thread of `build_extensions` has to write one
        cythonize(self.extensions, nthreads=self.parallel, compiler_directives=DIRECTIVES)
        super().build_extensions()


setup(
    ext_modules=[
        Extension(
            path.partition(".")[0].replace("/", "."),
            [path],
            depends=included,
            extra_compile_args=[*OPTIONS, "-O3" if path.startswith(OF_SAMPLES) else "-O2"],
            optional=True,
        )
        for path, included in MODULES.items()
    ],
    cmdclass={"build_ext": BuildAtOnce},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
