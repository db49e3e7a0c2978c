"""The tables of the rules' settings, from the tables that check them and from the template of the rules."""

from exporter.alerting_rules.rules import CHANGES, LINKS, SETTINGS, template, usual


def rule_settings_table() -> str:
    """Return all settings of the rules as a Markdown table."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for prefix, settings in (("", SETTINGS), ("links.", LINKS), ("alerts.ALERT.", CHANGES)):
        for name, setting in settings.items():
            default = f"`{setting.default}`" if setting.default else "none"
            lines.append(f"| `{prefix}{name}` | {default} | {setting.meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def rule_thresholds_table() -> str:
    """Return all thresholds of the rules as a Markdown table."""
    lines = ["| alert | threshold | default | meaning |", "|---|---|---|---|"]
    for alert, thresholds in template()["thresholds"].items():
        lines += [f"| {alert} | `{name}` | {usual(each):g} | {each['meaning']} |" for name, each in thresholds.items()]
    return "\n".join(lines)
