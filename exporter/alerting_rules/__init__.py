"""The rule file with an operator's settings: ``alerts/ginkgo.rules.yml`` and a YAML file in, a rule file out.

The rule file itself has the defaults, so that without settings it comes out unchanged. Read ``configured.py`` first:
it changes one rule after the other. ``rule_file.py`` writes the changes into the file's text, so that its comments
stay. ``unit_tests.py`` makes the tests for promtool that belong to the settings.
"""
