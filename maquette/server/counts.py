"""What `/metrics` tells: requests by route and status, how long they took, the engine's figures, and what is held."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)


class Counts:
    """One registry for each application: nothing global."""

    def __init__(
        self,
        inside: Callable[[], float],
        engine: Callable[[], Mapping[str, float]],
        jobs: Callable[[], Mapping[str, int]] = dict,
        held: Callable[[], Mapping[str, int]] = dict,
    ):
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("maquette_requests", "Requests answered", labels, registry=self._registry)
        self._seconds = Histogram(
            "maquette_request_seconds", "Until the last byte", ("route",), buckets=BUCKETS, registry=self._registry
        )
        gauge = Gauge("maquette_requests_inside", "Requests in hand", registry=self._registry)
        gauge.set_function(inside)
        self._registry.register(_Figures(engine, jobs, held))

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self._registry)


class _Figures(Collector):
    def __init__(
        self,
        engine: Callable[[], Mapping[str, float]],
        jobs: Callable[[], Mapping[str, int]],
        held: Callable[[], Mapping[str, int]],
    ):
        self._engine, self._jobs, self._held = engine, jobs, held

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, value in self._engine().items():
            yield GaugeMetricFamily(f"maquette_engine_{name}", f"Of the engine: {name}", value=value)
        states = GaugeMetricFamily("maquette_jobs", "Jobs by state", labels=["state"])
        for state, count in self._jobs().items():
            states.add_metric([state], count)
        yield states
        parts = GaugeMetricFamily("maquette_data_bytes", "What the data folder holds, by part", labels=["part"])
        for part, size in self._held().items():
            parts.add_metric([part], size)
        yield parts
