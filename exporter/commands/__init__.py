"""The subcommands that read and end: check, nodes and forget, and the tables that they print.

Comes in: the settings, and an exporter or Redis to ask. Goes out: text on the terminal and
an exit code. Each command has a file of its name; read ``nodes`` first.
"""
