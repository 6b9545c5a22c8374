"""The counters of the server, in Prometheus's form."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServerMetrics:
    """The counters of one server."""

    def __init__(self) -> None:
        disable_created_metrics()  # the time at which each counter was made
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ufnrec_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "ufnrec_request_seconds",
            "Seconds from a request's first line to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "ufnrec_requests_in_flight", "Requests being answered.", registry=self._registry
        )
        self.batch_rows = Histogram(
            "ufnrec_batch_histories",
            "Histories of a call of the model.",
            buckets=_SIZES,
            registry=self._registry,
        )
        self.batch_requests = Histogram(
            "ufnrec_batch_requests",
            "Requests joined into a call of the model.",
            buckets=_SIZES,
            registry=self._registry,
        )
        self.version = Gauge(
            "ufnrec_model_version", "Version of the model that answers.", registry=self._registry
        )
        self._reloads = Counter(
            "ufnrec_model_reloads",
            "New versions found.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in ("loaded", "failed"):
            self._reloads.labels(outcome)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts an answer; `route` is one of a few names, never a client's text."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def reloaded(self, *, is_loaded: bool) -> None:
        """Counts a new version that was loaded, or could not be."""
        self._reloads.labels("loaded" if is_loaded else "failed").inc()

    def text(self) -> bytes:
        """Returns all counters in Prometheus's text form."""
        return generate_latest(self._registry)
