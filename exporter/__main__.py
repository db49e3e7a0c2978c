"""``python -m exporter`` is ``ginkgo-exporter``."""

from exporter.cli import main

if __name__ == "__main__":
    main()
