"""The metrics of /metrics: counters of requests, and the supervisor's figures as they are at each scrape.

Knows no route. All numbers are kept in the parent process, since a worker's end would reset them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from server.http.record import Record

MEDIA_METRICS = CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)

COUNTS = {
    "spoken": ("tts_lines_spoken", "Lines that the engine spoke"),
    "failed": ("tts_lines_failed", "Lines that the engine refused or failed"),
    "doubtful": ("tts_lines_doubtful", "Lines delivered although no take's cut was sure"),
    "retakes": ("tts_retakes", "Takes beyond the first of a line"),
}
"""Counts of the supervisor with a metric of their own; all other counts are `tts_events_total{event}`."""


class Metrics:
    def __init__(self, supervisor: Any) -> None:
        """supervisor: any object with the attributes that Facts reads."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tts_requests", "Requests for speech by HTTP status", ["status"], registry=self.registry
        )
        self.duration = Histogram(
            "tts_request_duration_seconds",
            "Seconds from a request for speech to its answer, waiting included",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.concurrent = Gauge(
            "tts_concurrent_requests", "Requests for speech that are not answered yet", registry=self.registry
        )
        self.characters = Counter("characters_synthesized", "Characters of spoken texts", registry=self.registry)
        self.audio = Counter("tts_audio_seconds", "Seconds of delivered audio", registry=self.registry)
        self.generation = Counter(
            "tts_generation_seconds", "Seconds that the engine worked for delivered lines", registry=self.registry
        )
        self.rtf = Gauge(
            "tts_real_time_factor",
            "Seconds of work per second of audio, of the last line delivered",
            registry=self.registry,
        )
        self.registry.register(Facts(supervisor))
        ProcessCollector(registry=self.registry)  # Linux only; elsewhere it gives no metrics

    def observe(self, record: Record) -> None:
        """Counts one request for speech that has been answered."""
        self.requests.labels(str(record.status or 499)).inc()
        self.duration.observe(record.seconds)
        if record.takes is not None and record.status == 200:
            self.characters.inc(record.text_chars or 0)
            self.audio.inc(record.audio_seconds)
            self.generation.inc(record.generation_seconds)
            if record.audio_seconds:
                self.rtf.set(record.generation_seconds / record.audio_seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Facts(Collector):
    """The supervisor's plain attributes, read at each scrape; an absent attribute gives no metric."""

    def __init__(self, supervisor: Any) -> None:
        self.supervisor = supervisor

    def collect(self) -> Iterable[Metric]:
        supervisor = self.supervisor
        yield GaugeMetricFamily(
            "tts_ready", "1 when a sentence sent now would be spoken", value=float(supervisor.ready)
        )
        yield GaugeMetricFamily("tts_queue_depth", "Lines that wait for the engine", value=supervisor.queue_depth)
        if (waiting_s := getattr(supervisor, "waiting_s", None)) is not None:
            yield GaugeMetricFamily("tts_queue_seconds", "Expected seconds until all are spoken", value=waiting_s)
        yield CounterMetricFamily(
            "tts_worker_restarts", "Workers started in place of one that ended", value=supervisor.restarts
        )
        yield from counts(supervisor.counts)
        if (spoken := getattr(supervisor, "seconds_spoken", None)) is not None:
            yield CounterMetricFamily(
                "tts_spoken_seconds",
                "Seconds of speech made for delivered lines, dummy sentences and retakes included",
                value=spoken,
            )
        if sizes := getattr(supervisor, "batch_sizes", None):
            yield batch_sizes(sizes)
        if load_seconds := getattr(supervisor, "load_seconds", None):
            yield GaugeMetricFamily(
                "model_load_time_seconds", "Seconds that the engine took to load", value=load_seconds
            )
        if supervisor.facts is not None and not supervisor.facts.draft:
            yield GaugeMetricFamily(
                "voice_clone_cache_hit_rate",
                "Share of uses of the voice that found it prepared in the worker; each new worker prepares it once",
                value=hit_rate(supervisor.counts.get("spoken", 0), supervisor.restarts + 1),
            )
        yield from gpu(getattr(supervisor, "gpu", None) or {})


def counts(found: Mapping[str, int]) -> Iterable[Metric]:
    for key, (name, help_text) in COUNTS.items():
        yield CounterMetricFamily(name, help_text, value=found.get(key, 0))
    events = CounterMetricFamily("tts_events", "What else happened, by its name in /health", labels=["event"])
    for key, value in sorted(found.items()):
        if key not in COUNTS:
            events.add_metric([key], value)
    yield events


def batch_sizes(sizes: Mapping[int, int]) -> Metric:
    """sizes: number of lines that the engine had at once, to how often it had so many."""
    buckets = [(str(float(edge)), sum(n for size, n in sizes.items() if size <= edge)) for edge in BATCH_SIZES]
    total = sum(sizes.values())
    family = HistogramMetricFamily("tts_batch_size", "Lines that the engine had at once when one more was handed over")
    family.add_metric([], [*buckets, ("+Inf", total)], sum_value=sum(size * n for size, n in sizes.items()))
    return family


def hit_rate(spoken: int, prepared: int) -> float:
    return spoken / (spoken + prepared)


def gpu(devices: Mapping[str, Mapping[str, float]]) -> Iterable[Metric]:
    """devices: `cuda:0` to its memory_bytes and utilization_percent; either may be absent."""
    for key, name, help_text in (
        ("memory_bytes", "gpu_memory_usage_bytes", "Memory of the card that the worker holds"),
        ("utilization_percent", "gpu_utilization_percent", "How busy the card is"),
    ):
        known = {device: facts[key] for device, facts in devices.items() if key in facts}
        if known:
            family = GaugeMetricFamily(name, help_text, labels=["device"])
            for device, value in known.items():
                family.add_metric([device], value)
            yield family
