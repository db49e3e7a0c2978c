"""The stories: each is a fleet, the exporters that watch it, and what happened to Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from grafana.proof.lives import (
    BEFORE,
    LENGTH,
    NEVER,
    STEP,
    Life,
    eight_nodes,
    many_nodes,
    minutes_before_end,
    troubled_node,
    with_fates,
)

_ONE: Final = ("exporter-0:19121",)


@dataclass(frozen=True)
class Story:
    """A fleet, the exporters that watch it, and what happened to Redis; times are seconds from the hour's start.

    Attributes:
        lives: The nodes.
        instances: The exporters. The second one restarts at ``restart``.
        cluster: The name of the installation; empty if there is no such label.
        redis_lost: When Redis could not be read any more.
        silent: When the exporters stopped answering.
        refused: When Redis began to refuse writes. No node beats from then on.
        restart: When the second exporter started anew.
        flaws: Whether the plan loses a portfolio, a node writes invalid values, and some posts to Alertmanager fail.
        stale_gauges: Whether the exporters keep the gauges of offline nodes.
    """

    lives: tuple[Life, ...]
    instances: tuple[str, ...] = ("exporter-0:19121", "exporter-1:19121")
    cluster: str = ""
    redis_lost: float = NEVER
    silent: float = NEVER
    refused: float = NEVER
    restart: float = NEVER
    flaws: bool = False
    stale_gauges: bool = False

    def scrapes(self, instance: str) -> tuple[float, ...]:
        """Return the times of an exporter's scrapes, in seconds from the hour's start.

        Each exporter has its own moments. Its last scrape is less than 15 s before the end.
        """
        shift = 7.0 * self.instances.index(instance)
        return tuple(at - shift for at in range(STEP - BEFORE, LENGTH + 1, STEP))


def normal() -> Story:
    """Return a fleet of eight nodes, one of them offline; the second exporter restarted."""
    return Story(eight_nodes(), restart=minutes_before_end(45), flaws=True)


def all_well() -> Story:
    """Return eight nodes without any trouble."""
    return Story(with_fates())


def one_dead() -> Story:
    """Return eight nodes, one of them dead for twelve minutes."""
    return Story(with_fates(crash={3: minutes_before_end(12)}))


def mass_loss(**fates: Mapping[int, float]) -> Story:
    """Return eight nodes, of which five lost their heartbeats together six minutes ago; some have another fate."""
    return Story(with_fates(crash=dict.fromkeys((1, 2, 4, 5, 7), minutes_before_end(6)), **fates))


def redis_away() -> Story:
    """Return eight nodes, with Redis unreadable for the last ten minutes."""
    return Story(with_fates(), redis_lost=minutes_before_end(10))


def writes_refused() -> Story:
    """Return eight nodes that cannot beat, since Redis refuses writes for five minutes."""
    return Story(with_fates(), refused=minutes_before_end(5))


def untraded() -> Story:
    """Return eight nodes, of which two have not loaded their portfolios for nine minutes."""
    return Story(with_fates(unload=dict.fromkeys((2, 6), minutes_before_end(9))))


def one_node() -> Story:
    """Return a single node with a single exporter."""
    return Story((troubled_node(),), _ONE)


def thousand() -> Story:
    """Return a fleet of a thousand nodes with a single exporter."""
    return Story(many_nodes(1_000), _ONE, flaws=True)


def two_installations() -> Sequence[Story]:
    """Return two installations whose nodes have the same names. Redis of the second one has been lost."""
    return replace(one_dead(), cluster="tokyo"), replace(redis_away(), cluster="hong-kong")


def installations() -> Sequence[Story]:
    """Return five installations whose nodes have the same names: the normal one, and four with a trouble of their own.

    The exporters of the second one keep the gauges of offline nodes. In the third one a node that is online has not
    loaded its portfolios.
    """
    lost, silent = minutes_before_end(10), minutes_before_end(8)
    return (
        replace(normal(), cluster="tokyo"),
        replace(normal(), cluster="hong-kong", redis_lost=lost, stale_gauges=True),
        replace(mass_loss(unload={3: silent}), cluster="osaka", instances=_ONE),
        replace(all_well(), cluster="taipei", instances=_ONE, silent=silent),
        replace(writes_refused(), cluster="seoul", instances=_ONE),
    )
