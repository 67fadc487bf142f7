"""`python -m tests.bench`: time and memory of jobs, on one core, for each data set that is there.

Prints milliseconds a job (median of many, warm), MB/s, time per stage, peak memory of a fresh process, the start of a
process, and what function rules cost; everything beside what is required. Not part of the tests.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "ARROW_IO_THREADS")
ONE_THREAD = dict.fromkeys(LIBRARIES, "1")


def on_one_core() -> None:
    """Pin this process to one core and every library to one thread; before any of them is imported.

    Memory is kept as the pipeline keeps it.
    """
    from pyro_assets.jobs.pool import keep_freed_memory

    keep_freed_memory()
    os.environ.update(ONE_THREAD)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def measure(run: Any, jobs: list[Any], rounds: int, forget: Any) -> tuple[float, float, float]:
    """Milliseconds a job: median wall, best wall, median CPU; each job's median, averaged over the jobs."""
    wall: list[list[float]] = [[] for _ in jobs]
    cpu: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        forget()
        for number, job in enumerate(jobs):
            started, cpu_started = time.perf_counter(), time.process_time()
            run(job)
            wall[number].append(time.perf_counter() - started)
            cpu[number].append(time.process_time() - cpu_started)
    average = statistics.fmean
    return (
        1e3 * average(statistics.median(times) for times in wall),
        1e3 * average(min(times) for times in wall),
        1e3 * average(statistics.median(times) for times in cpu),
    )


def child(name: str, folder: str) -> None:
    """A fresh process: start, first job, peak memory over all jobs."""
    started = time.perf_counter()
    on_one_core()
    import resource

    from tests.bench import work

    imported = time.perf_counter()
    data = work.load(name, Path(folder))
    loaded = time.perf_counter()
    work.run_job(data.jobs[0], data.config)
    first = time.perf_counter()
    for job in data.jobs[1:]:
        work.run_job(job, data.config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"import_ms": 1e3 * (imported - started), "first_job_ms": 1e3 * (first - loaded), "peak_mib": peak}
    print(json.dumps(figures))


def bench_set(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """All figures of one data set."""
    from pyro_assets.jobs.compute import MOST_TOGETHER
    from tests.bench import stages, work

    data = work.load(name, folder)
    jobs = data.jobs

    def run(job: Any) -> int:
        return work.run_job(job, data.config)

    warm = time.perf_counter()
    for job in jobs:
        run(job)
    rounds = max(3, int(seconds / (time.perf_counter() - warm)))
    wall, best, cpu = measure(run, jobs, rounds, work.forget)
    passes = [jobs[begin : begin + MOST_TOGETHER] for begin in range(0, len(jobs), MOST_TOGETHER)]
    many = measure(lambda tasks: work.run_together(tasks, data.config), passes, rounds, work.forget)
    staged_rounds = max(rounds // 3, 1)
    with stages.clocked() as spent:
        total = 0.0
        for _ in range(staged_rounds):
            work.forget()
            started = time.process_time()
            for job in jobs:
                run(job)
            total += time.process_time() - started
        spent["the rest"] = total - sum(spent.values())
    count = staged_rounds * len(jobs)
    fresh = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--child", name, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | ONE_THREAD,
    )
    costs: dict[str, dict[int, float]] = {"functions": {}, "rules": {}}
    for kind, with_some in (("functions", work.with_functions), ("rules", work.with_rules)):
        for number in (0, 1, 25, 200):
            config = with_some(data, number)
            config_run = lambda job, config=config: work.run_job(job, config)  # noqa: E731
            for job in jobs:
                config_run(job)
            costs[kind][number] = measure(config_run, jobs, max(rounds // 3, 1), work.forget)[2]
    return {
        "name": name,
        "jobs": len(jobs),
        "objects": sum(len(job) for job in jobs),
        "bytes": data.size_bytes,
        "rounds": rounds,
        "ms": wall,
        "best_ms": best,
        "cpu_ms": cpu,
        "together_cpu_ms": many[2] * len(passes) / len(jobs),
        "mb_per_second": data.size_bytes / len(jobs) / wall / 1e3,
        "required_ms": data.required_ms,
        "aim_ms": data.aim_ms,
        "original_ms": data.original_ms,
        "required_mib": data.required_mib,
        "stages_ms": {stage: 1e3 * value / count for stage, value in spent.items()},
        "functions_ms": costs["functions"],
        "rules_ms": costs["rules"],
        **json.loads(fresh.stdout),
    }


def show(result: dict[str, Any]) -> None:
    """Print one data set's figures."""
    ms, cpu = result["ms"], result["cpu_ms"]
    print(f"{result['name']}: {result['jobs']} jobs, {result['objects']} objects, {result['bytes'] / 1e6:.1f} MB")
    print(
        f"  {ms:8.2f} ms a job, one core, median of {result['rounds']} rounds (best {result['best_ms']:.2f}),"
        f" {result['mb_per_second']:.1f} MB/s"
    )
    busy = "" if ms < 1.1 * cpu else "; the machine is busy with other things, so this is compared below"
    print(f"  {cpu:8.2f} ms of CPU time{busy}")
    together = result["together_cpu_ms"]
    print(f"  {together:8.2f} ms of CPU time a job, several at once as in a run: {together / cpu:.2f} of it")
    judged = min(ms, cpu)
    for label, key in (("required", "required_ms"), ("aimed at", "aim_ms"), ("the original", "original_ms")):
        if result[key] is None:
            continue
        verdict = "" if key != "required_ms" else ("  ok" if judged <= result[key] else "  TOO SLOW")
        print(f"  {result[key]:8.2f} ms {label}: {judged / result[key]:.2f} of it{verdict}")
    limit = result["required_mib"]
    verdict = "" if limit is None else f", {limit:.0f} allowed" + ("" if result["peak_mib"] < limit else "  TOO MUCH")
    print(f"  {result['peak_mib']:8.0f} MiB peak of a fresh process{verdict}")
    print(f"  {result['import_ms']:8.0f} ms imports, then {result['first_job_ms']:.1f} ms for the first job")
    print("  stages, ms of CPU time a job (mean of another run, clocks included):")
    for stage, value in result["stages_ms"].items():
        print(f"    {value:8.2f}  {stage}")
    for title, key in (("functions in short form", "functions_ms"), ("rules of the language", "rules_ms")):
        cost = result[key]
        ratios = " : ".join(f"{cost[n] / cost[1]:.2f}" for n in (1, 25, 200))
        verdict = "" if cost[200] <= 1.5 * cost[1] else "  TOO SLOW"
        print(f"  {title}, ms of CPU time a job:", ", ".join(f"{n}: {value:.2f}" for n, value in cost.items()), end="")
        print(f"; 1, 25, 200 cost {ratios} (at most 1.5){verdict}")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Time and memory per job and stage.")
    parser.add_argument("sets", nargs="*", help="data sets, all by default")
    parser.add_argument(
        "--bucket", type=Path, help="a folder of yours with segments, jobs.json and rules.json, in place of these"
    )
    parser.add_argument("--seconds", type=float, default=8, help="how long the main measurement of a set lasts")
    parser.add_argument("--json", action="store_true", help="print figures as JSON lines")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    on_one_core()
    from tests.bench import work

    sets = work.find_sets() if options.bucket is None else {options.bucket.name: options.bucket}
    for name, folder in sets.items():
        if options.sets and name not in options.sets:
            continue
        result = bench_set(name, folder, options.seconds)
        if options.json:
            print(json.dumps(result))
        else:
            show(result)


if __name__ == "__main__":
    main()
