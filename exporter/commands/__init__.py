"""The subcommands: serve, and those that run once and exit, with what they print.

The settings come in. Text on the terminal and an exit code go out. Read ``listing`` first: it is ``nodes`` and
``portfolios``; ``asking`` asks Redis or a running exporter for it.
"""
