"""The commands, one short file for each."""

from bench.windows import refuse_windows

refuse_windows()
