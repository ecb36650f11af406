"""The analysis of a run from its folder, without network or event loop. `rtbench` has the names that users import."""
