"""The parts of runbooks whose commands differ between plain hosts, Docker Compose and Kubernetes."""

from typing import Final

_HOST, _COMPOSE, _KUBERNETES = "sh host", "sh compose", "sh kubernetes"
_CAPTIONS: Final = {_HOST: "On the host", _COMPOSE: "With Docker Compose", _KUBERNETES: "On Kubernetes"}
_END: Final = (
    (_HOST, 'PID=\nkill -KILL "$PID"'),
    (_COMPOSE, "docker kill -- NODE"),
    # Without --force the command returns only when the process has surely ended.
    (_KUBERNETES, 'kubectl --namespace "$NAMESPACE" delete pod/NODE --now --timeout=60s'),
)


_STATES: Final = "The second column of `ps` is the state. `T` is suspended, `D` waits for a disk, `Z` has ended."


def forms() -> dict[str, str]:
    """Return each part of a runbook by the name of its marks, as Markdown."""
    return {
        "look-node": _markdown(
            (_HOST, _processes("[s]erve execution|[e]xecution start")),
            (_COMPOSE, "docker ps --all --filter id=NODE\ndocker logs --tail 50 -- NODE"),
            (
                _KUBERNETES,
                (
                    'kubectl --namespace "$NAMESPACE" get pod/NODE --output wide\n'
                    'kubectl --namespace "$NAMESPACE" logs pod/NODE --tail 50'
                ),
            ),
        ),
        "fence-node": _markdown(*_END)
        + "\n\nIf `kubectl` does not return, the pod's host is cut off: turn that host off. `--force` only removes the"
        "\nentry, and the process may go on trading.",
        "look-nodes": _look("[s]erve execution|[e]xecution start", "execution-node"),
        "look-scheduler": _look("[s]erve (livecore|scheduler)|[s]cheduler start", "livecore"),
        "restart-scheduler": "`livecore` also brings the market's data: while it restarts, no node gets an event, and"
        " no portfolio trades.\n\n" + _restart("livecore"),
        "one-scheduler": _keep_one("livecore"),
        "look-tasktimer": _look("[s]erve tasktimer|[t]asktimer start", "tasktimer"),
        "restart-tasktimer": _restart("tasktimer"),
        "one-tasktimer": _keep_one("tasktimer"),
        "look-workers": _look("[s]erve worker-(data|backtest)", "data-worker", "backtest-worker"),
        "look-redis": _look("[r]edis-server|[v]alkey-server", "redis-master", workload="statefulset/redis"),
        "look-exporter": _markdown(
            (
                _HOST,
                (
                    "systemctl status --no-pager ginkgo-exporter.service\n"
                    "journalctl --no-pager -n 50 -u ginkgo-exporter.service"
                ),
            ),
            *_in_containers("exporter", workload="deployment/ginkgo-exporter"),
        ),
        "restart-exporter": _markdown(
            (_HOST, "systemctl restart ginkgo-exporter.service"),
            (_COMPOSE, "docker compose restart exporter"),
            (_KUBERNETES, 'kubectl --namespace "$NAMESPACE" rollout restart deployment/ginkgo-exporter'),
        ),
        "look-monitoring": _markdown(
            (_HOST, _processes("[p]rometheus|[a]lertmanager")),
            (
                _COMPOSE,
                (
                    "docker compose ps --all prometheus alertmanager\n"
                    "docker compose logs --tail 50 prometheus alertmanager"
                ),
            ),
            (
                _KUBERNETES,
                (
                    'kubectl --namespace "$MONITORING" get pods --output wide\n'
                    'kubectl --namespace "$MONITORING" logs statefulset/prometheus --tail 50\n'
                    'kubectl --namespace "$MONITORING" logs statefulset/alertmanager --tail 50'
                ),
            ),
        ),
    }


def _markdown(*blocks: tuple[str, str]) -> str:
    """Return one form after the other; the states of processes are explained where processes are listed."""
    text = "\n\n".join(f"{_CAPTIONS[language]}:\n\n```{language}\n{commands}\n```" for language, commands in blocks)
    return f"{text}\n\n{_STATES}" if "ps -eo" in text else text


def _processes(pattern: str) -> str:
    """Return the command that lists processes: number, state (T: suspended), age and command line."""
    return f"ps -eo pid,stat,etime,args | grep -E '{pattern}'"


def _look(pattern: str, *services: str, workload: str = "") -> str:
    return _markdown((_HOST, _processes(pattern)), *_in_containers(*services, workload=workload))


def _in_containers(*services: str, workload: str = "") -> tuple[tuple[str, str], ...]:
    named = " ".join(services)
    workloads = [workload] if workload else [f"deployment/{service}" for service in services]
    logs = [f'kubectl --namespace "$NAMESPACE" logs {each} --tail 50' for each in workloads]
    return (
        (_COMPOSE, f"docker compose ps --all {named}\ndocker compose logs --tail 50 {named}"),
        (_KUBERNETES, "\n".join(['kubectl --namespace "$NAMESPACE" get pods --output wide', *logs])),
    )


def _restart(service: str) -> str:
    """Return how a component of which only one may run is ended, and started after its end."""
    blocks = _markdown(
        (_HOST, 'PID=\nkill -KILL "$PID"'),
        (_COMPOSE, f"docker compose restart --timeout 10 {service}"),
        (
            _KUBERNETES,
            (
                f'kubectl --namespace "$NAMESPACE" scale deployment/{service} --replicas=0\n'
                f'kubectl --namespace "$NAMESPACE" wait --for=delete pod --selector app={service} --timeout=60s &&\n'
                f'  kubectl --namespace "$NAMESPACE" scale deployment/{service} --replicas=1'
            ),
        ),
    )
    return blocks + "\n\nOn the host, start it anew as it was started, when `ps` does not show it any more."


def _keep_one(service: str) -> str:
    """Return how all but one of several processes of a component are ended."""
    return _markdown(
        (_HOST, 'PID=\nkill -KILL "$PID"'),
        (_COMPOSE, f"docker compose up --detach --no-recreate --scale {service}=1 {service}"),
        (_KUBERNETES, f'kubectl --namespace "$NAMESPACE" scale deployment/{service} --replicas=1'),
    )
