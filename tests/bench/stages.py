"""Where the time of a job goes: the functions of each stage, wrapped by a clock while a few jobs run.

Add a line to STAGES when a stage gets another function. Nested stages are not counted twice: a stage's time is
without that of stages called inside it.
"""

import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Module and name under which the function is called -> stage.
STAGES: dict[tuple[str, str], str] = {
    ("pyro_assets.block.reader", "parse_object"): "read metadata",
    ("pyro_assets.block.reader", "read_profiles"): "read profiles",
    ("pyro_assets.block.reader", "read_series"): "read tsdb",
    ("pyro_assets.block.reader", "read_symbols"): "read symbols",
    ("pyro_assets.block.reader", "link"): "link",
    ("pyro_assets.compaction.compact", "merge_symbols"): "merge symbols",
    ("pyro_assets.compaction.compact", "order_series"): "merge rows",
    ("pyro_assets.compaction.compact", "order_rows"): "merge rows",
    ("pyro_assets.compaction.compact", "drop_copies"): "merge rows",
    ("pyro_assets.compaction.compact", "take_rows"): "merge rows",
    ("pyro_assets.compaction.compact", "_merge_series"): "merge rows",
    ("pyro_assets.compaction.compact", "prune_symbols"): "prune",
    ("pyro_assets.block.writer", "write_profiles"): "write profiles",
    ("pyro_assets.block.writer", "write_symbols"): "write symbols",
    ("pyro_assets.block.writer", "write_index"): "write tsdb",
    ("pyro_assets.block.writer", "write_dataset_index"): "write tsdb",
    ("pyro_assets.block.writer", "seal_object"): "write object",
    ("tests.bench.work", "derive"): "series",
    ("tests.bench.work", "series_to_parquet"): "store series",
}


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    """Seconds of CPU time per stage of all that runs inside; "?" names functions that are no longer there."""
    seconds: dict[str, float] = defaultdict(float)
    running: list[float] = []
    originals: list[tuple[Any, str, Any]] = []

    def wrap(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def clocked_function(*args: Any, **kwargs: Any) -> Any:
            running.append(0.0)
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.process_time() - started
                seconds[stage] += spent - running.pop()
                if running:
                    running[-1] += spent

        return clocked_function

    for (module_name, name), stage in STAGES.items():
        module = importlib.import_module(module_name)
        if hasattr(module, name):
            originals.append((module, name, getattr(module, name)))
            setattr(module, name, wrap(getattr(module, name), stage))
        else:
            seconds[f"? {module_name}.{name}"] = 0.0
    try:
        yield seconds
    finally:
        for module, name, function in originals:
            setattr(module, name, function)
