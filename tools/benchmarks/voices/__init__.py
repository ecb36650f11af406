"""Starts and ends of recorded human speech, by condition: what this tool finds.

`packages` downloads Debian's packages with recordings, and `corpus` cuts the voices at samples that
two independent rules find. `conditions` makes streams from them, `detection` finds the speech, and
`offline` makes a table by condition. `python -m tools.benchmarks.voices --help` lists the options.
"""
