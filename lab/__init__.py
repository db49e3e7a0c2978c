"""The lab: all that simulates, and all that starts real servers, for tests and for ``python -m lab``.

``servers`` and ``monitoring`` start real programs; ``clusters`` and ``proxy`` belong to them.
``fakes`` and ``fake_redis`` are what cannot run here. The platform is the demo's; ``platform`` adds many nodes at once,
``simulated`` lets it run in simulated time, with the real exporter. ``soak`` makes faults, and ``oracle`` judges
what the exporter says; ``truth`` knows what Redis may have held. ``siege`` attacks, and ``bench`` measures.
"""
