"""The golden data's passport: copies whole jobs out of a bucket and writes the table of checksums.

`python tests/golden/passport.py BUCKET JOB...` renews tests/golden/data/bucket-2026 from a bucket in the form that
PASSPORT.md describes. Tests use `checksums` to see that what is committed is there and unchanged.
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

DATA = Path(__file__).parent / "data" / "bucket-2026"
PASSPORT = DATA / "PASSPORT.md"


def checksums(data: Path = DATA) -> dict[str, tuple[int, str]]:
    """A passport's table: path relative to its folder -> size in bytes, SHA-256 in hex."""
    rows = re.findall(r"(?m)^\| `([^`]+)` \| (\d+) \| ([0-9a-f]{64}) \|$", (data / PASSPORT.name).read_text())
    return {path: (int(size), digest) for path, size, digest in rows}


def files(data: Path = DATA) -> dict[str, tuple[int, str]]:
    """What is in the folder, in the table's form."""
    return {
        path.relative_to(data).as_posix(): (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.name != PASSPORT.name
    }


def copy_jobs(bucket: Path, numbers: list[int]) -> None:
    """Copy the sources, the original's level-1 blocks and the recorded samples of some jobs."""
    all_jobs = json.loads((bucket / "jobs.json").read_text())
    jobs = [all_jobs[number] for number in numbers]
    # The ids of a job's blocks start with the time of its first source.
    times = {job[0].split("/")[3][:10]: job[0].split("/")[1] for job in jobs}
    blocks = [
        path.relative_to(bucket).as_posix()
        for path in sorted(bucket.glob("blocks/*/*/*/block.bin"))
        if times.get(path.parent.name[:10]) == path.parts[-4]
    ]
    for key in [*(key for job in jobs for key in job), *blocks]:
        (DATA / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bucket / key, DATA / key)
    shutil.copyfile(bucket / "rules.json", DATA / "rules.json")
    (DATA / "jobs.json").write_text(json.dumps(jobs, indent=1) + "\n")
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    stamps = set()
    for text in times:
        stamp = 0
        for character in text:
            stamp = stamp * 32 + digits.index(character)
        stamps.add(stamp)
    lines = (bucket / "recorded.jsonl").read_text().splitlines(keepends=True)
    (DATA / "recorded.jsonl").write_text("".join(line for line in lines if json.loads(line)["timestamp_ms"] in stamps))


def write_table() -> None:
    """Replace the table of checksums at the end of PASSPORT.md."""
    head = PASSPORT.read_text().split("| file | bytes | sha256 |")[0]
    rows = [f"| `{path}` | {size} | {digest} |" for path, (size, digest) in files().items()]
    PASSPORT.write_text(head + "\n".join(["| file | bytes | sha256 |", "|---|---|---|", *rows]) + "\n")


if __name__ == "__main__":
    copy_jobs(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]])
    write_table()
