"""The waveform of one recorded call, with the waits of the caller."""
