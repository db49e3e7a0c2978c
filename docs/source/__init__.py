"""The generated tables of the documentation: ``python -m docs.source`` writes them, ``--check`` compares them.

Each module makes the tables of one page in ``docs/reference/``. ``__main__`` puts them between their marks.
"""
