"""The writing half: tells Redis every ten seconds that a node lives, and what the node is doing.

This package is for the nodes of the platform. It needs redis-py, which each node has already, and
psutil (``pip install '.[reporter]'`` in a checkout)::

    def measure() -> NodeMetrics:
        return NodeMetrics(
            portfolio_count=len(portfolios),
            queue_size=sum(each.queue.qsize() for each in portfolios) // max(1, len(portfolios)),
            loaded_portfolio_ids=[each.id for each in portfolios],
            portfolio_states={
                each.id: PortfolioMetrics(each.queue.qsize(), len(each.positions)) for each in portfolios
            },
            ...
        )

    stop_on_sigterm()       # containers and service managers end a node with SIGTERM
    with NodeReporter(redis, "node-7", measure):
        node.run()          # the node beats from here on
        node.shut_down()    # the node beats during a slow stop too
    # both keys are deleted: a graceful stop

The way in which the block ends decides what the platform sees:

- A graceful stop deletes both keys. It is the end of the block, ``KeyboardInterrupt`` (Ctrl-C),
  ``SystemExit``, ``asyncio.CancelledError`` (Ctrl-C under ``asyncio.run``) and ``GeneratorExit``.
- A crash deletes nothing, and the heartbeat expires. It is any other exception that leaves the
  block, SIGKILL, SIGTERM without a handler, and an interpreter that ends within the block.

The ledger of portfolios is made of ``loaded_portfolio_ids``: a node that does not write this list leaves its
portfolios ``unknown``. From ``portfolio_states`` come the fullest queue and the positions of each node.

Read ``node.py`` first.
"""

from exporter.reporter.endings import stop_on_sigterm
from exporter.reporter.metrics import NodeMetrics, PortfolioMetrics
from exporter.reporter.node import BEAT, TTL, NodeReporter

__all__ = ["BEAT", "TTL", "NodeMetrics", "NodeReporter", "PortfolioMetrics", "stop_on_sigterm"]
