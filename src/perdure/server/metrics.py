"""Metrics for Prometheus, in a registry of the server's own.

Requests are counted here as they are answered. What engine and journal count themselves is asked of them when
somebody scrapes: their `statistics()` by name, so that a new counter of theirs needs no line here, and how many
executions have each status, which only the journal knows. A journal that cannot be read costs a scrape that one
family; what says that the storage is in trouble is then still there.
"""

from collections.abc import Callable, Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from perdure.engine.ports import TERMINAL_STATUSES, Status

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# Counters of the journal, which counts without saying so in the name.
_COUNTED = frozenset(
    f"journal_{name}"
    for name in ("commits", "events", "syncs", "bytes_written", "checkpoints", "sync_seconds")
)


class Metrics:
    """What the server measures.

    Args:
        statistics: counters (names ending in `_total`) and gauges of engine and journal.
    """

    def __init__(self, statistics: Callable[[], dict[str, float]]) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "perdure_http_request_seconds",
            "Time to answer a request, long polls included.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "perdure_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.streams = Gauge("perdure_sse_streams", "Event streams open now.", registry=self._registry)
        self.polls = Counter("perdure_task_polls", "Task polls answered.", registry=self._registry)
        self.tasks_given = Counter(
            "perdure_tasks_dispatched", "Tasks given to workers.", registry=self._registry
        )
        self.results = Counter(
            "perdure_task_results", "Results that workers handed in.", ("outcome",), registry=self._registry
        )
        self.results_recorded = self.results.labels("recorded")
        self.results_refused = self.results.labels("refused")
        self._registry.register(_Engine(statistics))

    def observer(self, method: str, route: str) -> Callable[[int, float], None]:
        """A function to call with the status and the seconds of each answer of one route."""
        observe_seconds = self._seconds.labels(method, route).observe
        by_status: dict[int, Counter] = {}

        def observe(status: int, seconds: float) -> None:
            counter = by_status.get(status)
            if counter is None:
                counter = by_status[status] = self._requests.labels(method, route, str(status))
            counter.inc()
            observe_seconds(seconds)

        return observe

    def text(self, executions: dict[str, int] | None) -> bytes:
        """All metrics in Prometheus' text format.

        Args:
            executions: how many have each status; None: not known at the moment, and left out.
        """
        if executions is None:
            return generate_latest(self._registry)
        # A registry for this scrape alone: two at once must not show each other's numbers.
        counted = CollectorRegistry()
        counted.register(_ByStatus(executions))
        return generate_latest(self._registry) + generate_latest(counted)


class _ByStatus(Collector):
    """Executions by status, every status of the vocabulary included, so that no series comes and goes."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = dict.fromkeys(get_args(Status), 0) | counts

    def collect(self) -> Iterable[Metric]:
        """The one family."""
        family = GaugeMetricFamily(
            "perdure_executions", "Executions in the journal, ended ones included.", labels=("status",)
        )
        for status, number in sorted(self._counts.items()):
            family.add_metric((status,), number)
        yield family


class _Engine(Collector):
    """Asks engine and journal at scrape time."""

    def __init__(self, statistics: Callable[[], dict[str, float]]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        """One family for each number; executions that have ended are one family by status."""
        ended = CounterMetricFamily(
            "perdure_executions_ended", "Executions that ended since the start.", labels=("status",)
        )
        found = dict(self._statistics())
        for status in sorted(TERMINAL_STATUSES):
            ended.add_metric((status,), found.pop(f"executions_{status}_total", 0.0))
        yield ended
        for name, value in sorted(found.items()):
            title = f"Engine and journal: {name.removesuffix('_total').replace('_', ' ')}."
            if name.endswith("_total") or name in _COUNTED:
                yield CounterMetricFamily(f"perdure_{name}", title, value=value)
            else:
                yield GaugeMetricFamily(f"perdure_{name}", title, value=value)
