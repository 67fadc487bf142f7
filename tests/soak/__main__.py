"""`python -m tests.soak` (`make soak`): everything under load, killed at random, compared to the last sample.

SOAK_MINUTES says how long; exit status 1 when anything is missing, double or different. Figures as JSON go to stdout,
or to a file.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from pyro_assets.errors import PyroAssetsError
from tests.soak.soak import RATE, soak


def main() -> int:
    """Runs it and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or 10))
    parser.add_argument("--no-kills", action="store_true", help="measure the lag of an undisturbed deployment")
    parser.add_argument("--rate", type=float, default=RATE, help="segments per second and shard (of four)")
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    parser.add_argument("--folder", type=Path, default=Path(".soak"), help="emptied first; default: %(default)s")
    parser.add_argument("--json", type=Path, help="where figures go; default: stdout")
    options = parser.parse_args()
    try:
        figures = soak(
            options.folder,
            options.minutes * 60,
            kill_every_seconds=None if options.no_kills else (15.0, 45.0),
            rate=options.rate,
            seed=options.seed,
        )
    except PyroAssetsError as error:
        print(error, file=sys.stderr)
        return 1
    written = json.dumps(asdict(figures), indent=2)
    if options.json:
        options.json.write_text(written + "\n")
    print(written)
    if figures.differences:
        print(f"{len(figures.differences)} differences", file=sys.stderr)
    return int(bool(figures.differences))


if __name__ == "__main__":
    sys.exit(main())
