"""Mutation testing: one small fault at a time is built into a module, and the module's tests must notice it.

Cosmic Ray (https://cosmic-ray.readthedocs.io) builds most faults, ``targets.toml`` says which modules and which tests,
and ``survivors.toml`` lists the mutants that no test can notice, each with the reason. Read ``__main__`` first.
"""
