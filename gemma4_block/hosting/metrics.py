"""Give the host's metrics endpoint what an operator's monitoring asks about models, under names that stay."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gemma4_block.engine.pool import EnginePool, label_engine
from gemma4_block.meter import Cache, Meter, Outcome, use_meter
from gemma4_block.waiting import PROMPTS

# Up to the batch sizes that anybody sets.
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64)


class PrometheusMeter(Meter):
    """Counts in the registry of a metrics endpoint.

    Args:
        registry: Of the endpoint.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Counter(
            "gemma4_block_loads", "Loads of models.", ["model", "outcome"], registry=registry
        )
        self._load_seconds = Counter(
            "gemma4_block_load_seconds", "Seconds that loads took.", ["model"], registry=registry
        )
        self._closings = Counter(
            "gemma4_block_closings", "Models that were closed.", ["model"], registry=registry
        )
        self._answers = Counter("gemma4_block_answers", "Prompts that were answered.", registry=registry)
        self._input_tokens = Counter(
            "gemma4_block_input_tokens", "Tokens of prompts that were answered.", registry=registry
        )
        self._output_tokens = Counter("gemma4_block_output_tokens", "Tokens of answers.", registry=registry)
        self._refusals = Counter(
            "gemma4_block_refusals",
            "Steps, prompts and requests that were refused or failed, by the class of the error.",
            ["kind"],
            registry=registry,
        )
        self._stage_seconds = Counter(
            "gemma4_block_stage_seconds", "Seconds of work, by stage.", ["stage"], registry=registry
        )
        self._rows = Histogram(
            "gemma4_block_batch_rows",
            "Images, prompts or sequences that were worked on at once, by stage.",
            ["stage"],
            buckets=_ROWS,
            registry=registry,
        )
        self._lookups = Counter(
            "gemma4_block_cache_lookups",
            "Times that a cache was asked, and whether it had the answer.",
            ["cache", "result"],
            registry=registry,
        )
        self._running = Gauge(
            "gemma4_block_running_rows", "Sequences that are being written now.", registry=registry
        )

    def note_load(self, model: str, outcome: Outcome, seconds: float) -> None:
        """Count a load."""
        self._loads.labels(model, outcome).inc()
        self._load_seconds.labels(model).inc(seconds)

    def note_close(self, model: str) -> None:
        """Count a closing."""
        self._closings.labels(model).inc()

    def note_answers(self, prompts: int, input_tokens: int, output_tokens: int) -> None:
        """Count answers and tokens."""
        self._answers.inc(prompts)
        self._input_tokens.inc(input_tokens)
        self._output_tokens.inc(output_tokens)

    def note_refusal(self, kind: str, count: int = 1) -> None:
        """Count refusals."""
        self._refusals.labels(kind).inc(count)

    def note_pass(self, stage: str, rows: int, seconds: float) -> None:
        """Count the seconds and the rows of a pass."""
        self._stage_seconds.labels(stage).inc(seconds)
        self._rows.labels(stage).observe(rows)

    def note_lookup(self, cache: Cache, *, is_hit: bool) -> None:
        """Count hits and misses."""
        self._lookups.labels(cache, "hit" if is_hit else "miss").inc()

    def note_running(self, change: int) -> None:
        """Follow how many sequences are being written."""
        self._running.inc(change)


class EngineCollector(Collector):
    """Says at every scrape which engines there are, and how much waits for them.

    Args:
        pool: Holds the engines.

    """

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """Yield what is now."""
        engines = GaugeMetricFamily("gemma4_block_engines", "Engines, by state.", labels=["state"])
        sizes = GaugeMetricFamily(
            "gemma4_block_engine_bytes",
            "Memory of this machine that the engines of a model take.",
            labels=["model"],
        )
        states = dict.fromkeys(("loading", "ready", "failed", "closing"), 0)
        nbytes: dict[str, int] = {}
        for status in self._pool.list_engines():
            states[status.state] += 1
            if status.nbytes is not None:
                label = label_engine(status.reference, status.name)
                nbytes[label] = nbytes.get(label, 0) + status.nbytes
        for state, count in states.items():
            engines.add_metric([state], count)
        for model, size in nbytes.items():
            sizes.add_metric([model], size)
        yield engines
        yield sizes
        yield GaugeMetricFamily(
            "gemma4_block_prompts",
            "Prompts that wait for answers or are being answered.",
            value=PROMPTS.count,
        )


def publish_metrics(pool: EnginePool, registry: CollectorRegistry) -> None:
    """Have a registry say what there is to know of a pool, and count from now on.

    Args:
        pool: Holds the engines.
        registry: Of a metrics endpoint.

    """
    use_meter(PrometheusMeter(registry))
    registry.register(EngineCollector(pool))
