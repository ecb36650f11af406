"""The checks of everything between this machine and a measured turn, in order. A failed check names its remedy."""
