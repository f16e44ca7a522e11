"""Numbers for Prometheus: counted by the server as they happen, or asked of the engines when read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bottega.engine.settings import Statistics
from bottega.server.served import Served

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_GAUGES = {
    "running": "Requests that read their prompts or decode.",
    "waiting": "Requests that wait in the queue.",
    "kv_blocks_used": "Blocks of the KV cache that running requests hold.",
    "kv_blocks_total": "Blocks of the KV cache.",
}
_COUNTERS = {
    "prefix_hit_tokens": "Prompt tokens whose keys and values were in the cache already.",
    "prompt_tokens": "Prompt tokens of admitted requests.",
    "generated_tokens": "Tokens that were drawn.",
    "preemptions": "Requests that gave their blocks up and were computed again.",
    "drafted": "Tokens that speculation proposed.",
    "accepted": "Proposed tokens that were what the model drew.",
}


class Metrics:
    """One server's metrics, in a registry of its own: two servers in one process do not share them."""

    def __init__(self, served: Mapping[str, Served]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "bottega_http_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "bottega_http_request_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=_FIRST,
            registry=registry,
        )
        self.first_token = Histogram(
            "bottega_time_to_first_token_seconds",
            "From asking the engine to the first token.",
            ("model",),
            buckets=_FIRST,
            registry=registry,
        )
        self.between_tokens = Histogram(
            "bottega_inter_token_seconds",
            "Between two tokens of a continuation.",
            ("model",),
            buckets=_BETWEEN,
            registry=registry,
        )
        registry.register(_Engines(served))

    def render(self) -> bytes:
        """Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)


class _Engines(Collector):
    def __init__(self, served: Mapping[str, Served]) -> None:
        # A model with several names is counted once, under the first.
        first = {id(one): name for name, one in reversed(list(served.items()))}
        self._engines = {name: one.engine for name, one in served.items() if first[id(one)] == name}

    def collect(self) -> Iterator[Metric]:
        """What the engines tell of themselves now."""
        told = {name: engine.statistics for name, engine in self._engines.items()}
        for field in fields(Statistics):
            kind = GaugeMetricFamily if field.name in _GAUGES else CounterMetricFamily
            text = _GAUGES.get(field.name) or _COUNTERS[field.name]
            family = kind(f"bottega_engine_{field.name}", text, labels=("model",))
            for name, statistics in told.items():
                family.add_metric([name], getattr(statistics, field.name))
            yield family
        restarts = CounterMetricFamily(
            "bottega_engine_restarts", "Times that the engine died and was started again.", labels=("model",)
        )
        ready = GaugeMetricFamily("bottega_engine_ready", "1 where the engine answers.", labels=("model",))
        for name, engine in self._engines.items():
            restarts.add_metric([name], engine.restarts)
            ready.add_metric([name], float(engine.ready))
        yield from (restarts, ready)
