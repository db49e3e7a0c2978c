"""What the documentation has from the code: ``python -m docs.source`` writes it, ``--check`` compares it.

Each module makes the tables of one subject; ``flags`` makes ``config.example.yml`` too. ``__main__`` puts the tables
between their marks in ``docs/``.
"""
