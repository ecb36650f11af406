"""The commands, one short file for each."""

from bench.installation import refuse_windows

refuse_windows()
