"""The analysis of a run from its folder, without network or event loop. Users import names from `rtbench`."""
