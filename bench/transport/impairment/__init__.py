"""The impairment of the caller's network: profiles, and the models of a line that carries
packets or a stream. Pure.
"""
