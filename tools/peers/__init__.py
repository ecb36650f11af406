"""Agents of others, each called as its own documentation starts it, and its values against a
capture (`make peers`).

`peers` has the list of agents, and `agents` their programs. `capture` records the packets, and
`values` compares the values of a run with them. `table` writes the results into README.md.
"""
