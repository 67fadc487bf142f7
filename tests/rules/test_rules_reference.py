"""The reference of the language: every example is read and gives the series that stand below it."""

import re
from pathlib import Path

import pyro_assets.rules
from pyro_assets.block.columns import BlockColumns
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.rules.names import metric_name
from pyro_assets.series.derive import derive
from tests.support.series_jobs import GOROUTINES, JOB, SECOND_NS, job, profile, sample
from tests.support.strategies import CPU, INUSE

REFERENCE = Path(pyro_assets.rules.__file__).parent / "RULES.md"
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
NAMES = {
    metric_name(CPU).removeprefix(metric_name(b"")): "cpu",
    metric_name(INUSE).removeprefix(metric_name(b"")): "inuse",
    metric_name(GOROUTINES).removeprefix(metric_name(b"")): "goroutine",
}
TABLE = re.compile(r"```text\nsecond +id +type +value +labels\n(.*?)```", re.DOTALL)


def columns_of_the_reference():
    serve = (b"main.main", b"net/http.Serve")
    seconds = 1_000_000_000
    columns, _ = job(
        profile(
            [
                sample(30 * seconds, *serve, b"json.Encode"),
                sample(50 * seconds, *serve, b"db.Query"),
                sample(20 * seconds, b"main.main", b"runtime.gc"),
            ],
            pod="a",
        ),
        profile([sample(5 * seconds, *serve, b"json.Encode")], pod="b"),
        profile([sample(100, b"main.main", b"cache.Put[int]")], INUSE, pod="a"),
        profile([sample(80, b"main.main", b"cache.Put[string]")], INUSE, pod="a", time_ns=2 * SECOND_NS),
    )
    return columns


def columns_of_table(text: str) -> BlockColumns:
    """The profiles of a table in the reference, each row a source of its own."""
    given = []
    for line in text.splitlines():
        second, number, kind, value, *labels = line.split()
        pairs = sorted(tuple(label.encode().split(b"=")) for label in labels)
        type_of = {"goroutine": GOROUTINES, "inuse_space": INUSE}[kind]
        time_ns = int(second) * SECOND_NS
        given.append(profile([int(value)], type_of, time_ns=time_ns, number=int(number), labels=tuple(pairs)))
    return job(*given, split=True)[0]


def result_of(columns: BlockColumns, config: SeriesConfig) -> str:
    if config.rules:
        config = config.model_copy(
            update={"dimensions": config.dimensions.model_copy(update={"selectors": []})}
        )  # what `rules` give, alone
    lines = []
    for frame in derive(columns, JOB, config).frames.values():
        for row in frame.iter_rows(named=True):
            labels = ", ".join(f"{one['name']}={one['value']}" for one in row["labels"])
            metric = row["metric"]
            for long, short in NAMES.items():
                metric = metric.replace(long, short)
            lines.append(f"{metric.replace('pyroscope_exported_metrics_', '')}{{{labels}}} {row['value']:.15g}")
    return "\n".join(lines) + "\n"


def test_every_example():
    columns, known = columns_of_the_reference(), 0
    text = REFERENCE.read_text()
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        examples, table = EXAMPLE.findall(section), TABLE.search(section)
        known += len(examples)
        for example, expected in examples:
            own = columns if table is None else columns_of_table(table[1])
            assert result_of(own, parse_config(example, "RULES.md")) == expected, example
    assert known == text.count("```yaml") == 14


def test_every_field_is_described():
    from pyro_assets.rules.language import Rule

    text = REFERENCE.read_text()
    assert [name for name in Rule.model_fields if f"`{name}" not in text and f"{name}:" not in text] == []
