"""Starts and ends of recorded human speech, by condition: what this tool finds, and what two other
detectors find.

`packages` downloads Debian's packages with recordings, and `corpus` cuts the voices at samples that
two independent rules find. `conditions` makes streams from them, `detection` finds the speech, and
`vads` asks other detectors. `offline` makes a table by condition. `live` calls an agent that
answers with these voices. `python -m tools.benchmarks.voices --help` lists the options.
"""
