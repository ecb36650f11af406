"""Understanding a run, from its folder on: no network, no event loop. `rtbench` offers what users import."""
