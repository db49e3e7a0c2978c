"""What may happen in a story to the platform beside its nodes: to the scheduler, the plan and the workers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from lab.simulated.world import Deed, World


class PlatformDeeds(ABC):
    """The part of a story that is about portfolios and workers."""

    @abstractmethod
    def _at(self, at: float, *deeds: Deed) -> None:
        """Let something happen at a time."""

    def scheduler_stops(self, at: float, lasts: float = float("inf")) -> None:
        """Let the first scheduler stop to look: killed, paused or hanging."""
        self._at(at, lambda world: setattr(world.schedulers[0], "running", False))
        self._at(at + lasts, lambda world: setattr(world.schedulers[0], "running", True))

    def second_scheduler(self, at: float, lasts: float = float("inf")) -> None:
        """Start a second scheduler: the two place every portfolio anew at each look, in different ways."""

        def fight(*, on: bool) -> Deed:
            def deed(world: World) -> None:
                if on:
                    world.add_scheduler()
                for scheduler in world.schedulers:
                    scheduler.moves_all = on
                world.schedulers[-1].running = on

            return deed

        self._at(at, fight(on=True))
        self._at(at + lasts, fight(on=False))

    def deploy(self, *portfolios: str, at: float) -> None:
        """Let the scheduler's next look place new portfolios."""
        self._at(at, lambda world: world.schedulers[0].deploy(*portfolios))

    def messages_are_lost(self, *nodes: str, at: float, lasts: float) -> None:
        """Let no message of a scheduler reach these nodes."""
        for when, change in ((at, set.update), (at + lasts, set.difference_update)):
            self._at(when, lambda world, change=change: [change(each.unheard, nodes) for each in world.schedulers])

    def plan_is(self, plan: Mapping[str, str], at: float) -> None:
        """Replace the plan by hand."""
        self._at(at, lambda world: setattr(world.redis.platform, "plan", dict(plan)))

    def takes(self, node: str, portfolio: str, at: float) -> None:
        """Let a node load a portfolio that nobody gave to it."""
        self._at(at, lambda world: world.node(node).take(portfolio))

    def gives_up(self, node: str, portfolio: str, at: float) -> None:
        """Let a node unload a portfolio."""
        self._at(at, lambda world: world.node(node).give_up(portfolio))

    def redis_saves_in_background(self, at: float, lasts: float) -> None:
        """Let a child process of Redis save for a while."""
        self._at(at, lambda world: setattr(world.redis.platform, "saving", True))
        self._at(at + lasts, lambda world: setattr(world.redis.platform, "saving", False))

    def worker_starts(self, *keys: str, at: float) -> None:
        """Let other components start."""
        self._at(at, *(lambda world, key=key: world.worker(key).start() for key in keys))

    def worker_ends(self, *keys: str, at: float) -> None:
        """Let other components end."""
        self._at(at, *(lambda world, key=key: world.worker(key).end() for key in keys))
