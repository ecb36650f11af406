"""What stands between this machine and a measured turn: each thing looked at in order, each with its remedy."""
