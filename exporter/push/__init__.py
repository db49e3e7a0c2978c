"""Push: heartbeat timers → alerts → Alertmanager."""
