"""The rule file with an operator's settings: the template of the rules and a YAML file in, a rule file out.

``rules.py`` is all of it. The template, ``alerts/ginkgo.rules.template.yml``, has the rules, their thresholds and the
defaults; the Helm chart fills the same template.
"""
