"""Addresses that panels and dashboards link to. They keep installation, job, exporter, node and time range.

The exporter's own pages are below `EXPORTER_ADDRESS`. `render` puts the operator's address there.
"""

from typing import Final

TAG: Final = "ginkgo"
FLEET: Final = "ginkgo-fleet"
NODE: Final = "ginkgo-node"
EXPORTER: Final = "ginkgo-exporter"

EXPORTER_ADDRESS: Final = "__exporter_address__"
"""Begins each address of an exporter's page: the chosen address, or the operator's for each installation."""
DEFAULT_ADDRESS: Final = "__default_address__"
"""Stands for the address that is chosen at first."""
_SINCE_UNTIL: Final = "since=${__from:date:seconds}&until=${__to:date:seconds}"
KEPT_ADDRESS: Final = "&${exporter:queryparam}"
_KEPT: Final = f"${{__url_time_range}}&${{datasource:queryparam}}{KEPT_ADDRESS}"
_INSTALLATION: Final = "var-cluster=${__data.fields.Installation:percentencode}"
_NODE: Final = f"/d/{NODE}?{_KEPT}&${{instance:queryparam}}&{_INSTALLATION}&var-node=${{__value.raw:percentencode}}"

OPEN_NODE: Final = ("Open this node", f"{_NODE}&var-job=${{__data.fields.Job:percentencode}}")
"""From a table whose columns are named Node, Installation and Job.

Where no label tells installations apart, the variable is empty. It then chooses the series without such a label.
"""

OPEN_ALERTED_NODE: Final = ("Open this node", f"{_NODE}&${{job:queryparam}}")
"""From the table of alerts, which has no jobs."""

OPEN_FLEET: Final = (
    "Open this installation's fleet",
    f"/d/{FLEET}?{_KEPT}&var-cluster=${{__value.raw:percentencode}}",
)

OPEN_RUNBOOK: Final = (
    "Open the runbook",
    f"{EXPORTER_ADDRESS}/runbooks/${{__value.raw:percentencode}}?node_id=${{__data.fields.Node:percentencode}}",
)
"""From the table of alerts, whose columns are named Alert and Node."""

OPEN_EVENTS: Final = (
    "Its events in this range",
    f"{EXPORTER_ADDRESS}/api/v1/events?subject=${{__value.raw:percentencode}}&{_SINCE_UNTIL}",
)
"""From a column of nodes or of portfolios."""

STATUS_PAGE: Final = ("Status page", f"{EXPORTER_ADDRESS}/")
EVENTS: Final = ("Events", f"{EXPORTER_ADDRESS}/api/v1/events?{_SINCE_UNTIL}")
RUNBOOKS: Final = ("Runbooks", f"{EXPORTER_ADDRESS}/runbooks/")
NODE_RUNBOOK: Final = ("Runbook", f"{EXPORTER_ADDRESS}/runbooks/GinkgoNodeOffline?node_id=${{node:percentencode}}")
