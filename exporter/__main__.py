"""``python -m exporter`` is ``ginkgo-exporter``; both begin here, where an old Python can still be told."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - pip would have refused it, a checkout does not
    sys.exit("ginkgo-exporter: needs Python 3.11 or newer, and this is %d.%d" % sys.version_info[:2])  # noqa: UP031

from exporter.cli import main

if __name__ == "__main__":
    main()
