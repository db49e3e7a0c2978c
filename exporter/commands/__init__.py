"""The subcommands: serve, and those that run once and exit, with the tables that they print.

The settings come in. Text on the terminal and an exit code go out. Each command has a file of its name. Read
``nodes`` first; ``listing`` reads the nodes for it, from Redis or from a running exporter.
"""
