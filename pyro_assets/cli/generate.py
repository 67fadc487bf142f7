"""`pyro-assets generate`: made-up segments into a bucket, for past hours or live, and the manifest of them.

Add an option when a person needs it; making segments is the business of `pyro_assets.generator`.
"""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyro_assets.cli.options import json_option, setting_option
from pyro_assets.cli.output import progress_bar, show_json, show_table, size_text
from pyro_assets.cli.times import read_time
from pyro_assets.storage.keys import HOUR_MS, hour_of

if TYPE_CHECKING:
    from pyro_assets.generator.generate import Produced

_PAST_RATE = 0.02
_LIVE_RATE = 2.0


@click.command()
@setting_option("source_url", "--url", "url", help="The bucket that is filled (of your own, not Pyroscope's).")
@click.option("--live", is_flag=True, help="Make segments as time passes, after the past hours if there are any.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Make so many past hours at once.")
@click.option(
    "--until",
    "until_ms",
    callback=read_time,
    metavar="TIME",
    help="End of the past hours, such as 2026-11-25T13 (UTC).  [default: the last full hour]",
)
@click.option("--shards", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(0, 1000, min_open=True), help="Live segments per second and shard.  [default: 2]"
)
@click.option(
    "--past-rate",
    type=click.FloatRange(0, 1000, min_open=True),
    default=_PAST_RATE,
    show_default=True,
    help="The same for past hours.",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End the live part after this time.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same programs and load.")
@click.option(
    "--uploads",
    type=click.IntRange(1, 100),
    default=4,
    show_default=True,
    help="Pods whose profiles are in one segment at most.",
)
@click.option(
    "--retry-share",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="How many uploads are repeated in the next segment.",
)
@click.option(
    "--late-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="How many live segments land some seconds late.",
)
@click.option(
    "--function",
    "functions",
    multiple=True,
    metavar="NAME",
    help="Record the totals of this function (repeatable).  [default: some of each language]",
)
@click.option(
    "--manifest",
    "manifest_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to record what was made.  [default: beside the bucket]",
)
@json_option
def generate(
    url: str,
    live: bool,
    hours: float | None,
    until_ms: int | None,
    shards: int,
    rate: float | None,
    past_rate: float,
    seconds: float | None,
    seed: int,
    uploads: int,
    retry_share: float,
    late_share: float,
    functions: tuple[str, ...],
    manifest_path: Path | None,
    as_json: bool,
) -> None:
    """Fill a bucket with realistic segments of made-up programs."""
    if not live and hours is None:
        raise click.UsageError("say --hours N for past hours, --live, or both")
    if until_ms is not None and hours is None:
        raise click.UsageError("--until needs --hours")
    if not live and (seconds is not None or rate is not None):
        raise click.UsageError("--seconds and --rate need --live; for past hours say --past-rate")
    end_ms = until_ms if until_ms is not None else time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
    # The writers of blocks take a second to import; wrong usage should not wait for them.
    from pyro_assets.generator.expected import totals_by_hour
    from pyro_assets.generator.generate import Produced, generate_live, generate_past, past_slots
    from pyro_assets.generator.manifest import ManifestWriter, read_manifest
    from pyro_assets.generator.segments import WATCHED, Recipe, SegmentMaker
    from pyro_assets.storage.bucket import open_bucket

    recipe = Recipe(seed, shards, uploads, retry_share, functions or WATCHED)
    path = manifest_path or _beside(url)
    bucket = open_bucket(url, writable=True)
    maker = SegmentMaker(recipe)
    produced = Produced()
    try:
        manifest = ManifestWriter(path, seed, recipe.functions)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    try:
        with _interruptible() as stop:
            if hours is not None:
                start_ms = end_ms - round(hours * HOUR_MS)
                total = sum(1 for _ in past_slots(seed, shards, start_ms, end_ms, past_rate))
                with progress_bar("past segments") as bar:
                    past = generate_past(
                        maker, bucket, manifest, start_ms=start_ms, end_ms=end_ms, rate=past_rate, stop=stop,
                        progress=lambda so_far: bar.update(so_far.segments, total),
                    )  # fmt: skip
                produced.add(past)
            if live and not stop.is_set():
                made = generate_live(
                    maker, bucket, manifest, rate=rate or _LIVE_RATE, seconds=seconds, stop=stop, late_share=late_share
                )
                produced.add(made)
    finally:
        manifest.close()
    totals_path = path.with_suffix(".totals.json")
    totals_path.write_text(json.dumps(totals_by_hour(read_manifest(path)), ensure_ascii=False, indent=0))
    _show(produced, url, path, totals_path, as_json=as_json)


def _beside(url: str) -> Path:
    """Where a bucket's manifest is by default: beside a folder, in the working directory for other buckets."""
    if "://" in url and not url.startswith("file://"):
        return Path("generated.manifest.jsonl")
    folder = Path(url.removeprefix("file://"))
    return folder.with_name(folder.name + ".manifest.jsonl")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a request to end sets, so that what was begun is finished."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(produced: "Produced", url: str, path: Path, totals_path: Path, *, as_json: bool) -> None:
    hours = {hour_of(ms): n for ms, n in produced.hours.items()}
    if as_json:
        show_json(
            {
                "url": url,
                "manifest": str(path),
                "totals": str(totals_path),
                "segments": produced.segments,
                "bytes": produced.size_bytes,
                "profiles": produced.rows,
                "late": produced.late,
                "seconds": round(produced.seconds, 3),
                "hours": hours,
            }
        )
        return
    show_table(["hour (UTC)", "segments"], sorted(hours.items()))
    click.echo(
        f"\n{produced.segments:,} segments, {size_text(produced.size_bytes)}, {produced.rows:,} profiles in "
        f"{produced.seconds:.1f} s under {url}\nmanifest {path}, totals {totals_path}"
    )
