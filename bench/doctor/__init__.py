"""The checks of everything between this machine and a measured turn, in order, each with its remedy."""
