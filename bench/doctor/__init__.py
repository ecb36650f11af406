"""The checks of everything that a measured turn needs, from this machine to the service.

A failed check states its remedy.
"""
