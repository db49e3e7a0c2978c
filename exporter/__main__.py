"""``python -m exporter`` and ``ginkgo-exporter`` both begin here. A Python that is too old gets one clear line."""

import gc
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - pip checks the version, a checkout does not
    sys.exit("ginkgo-exporter: needs Python 3.11 or newer, and this is %d.%d" % sys.version_info[:2])  # noqa: UP031

gc.disable()  # what is imported is no garbage; ``main`` enables it
from exporter.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
