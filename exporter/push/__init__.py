"""Changes of nodes' states → alerts → Alertmanager.

Comes in: what the judge tells. Goes out: posts to every Alertmanager. Read ``bridge`` first, then
``alertmanager``, where a post is made.
"""
