"""Whether DuckDB's own reader of Delta Lake sees what we wrote: `python -m tests.archive.delta_scan`.

It fetches DuckDB's extension, so no test calls it; the workflow does, where the network is there.
"""

from tempfile import TemporaryDirectory

import duckdb

from pyro_assets.archive.table import ArchiveTable
from pyro_assets.storage.bucket import open_bucket
from tests.archive.test_table import HOUR, LATER, NOW_MS, put


def main() -> None:
    """Writes two hours, replaces one, and reads them."""
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        archive = open_bucket(folder, True)
        table = ArchiveTable(archive)
        for hour, number, values in ((HOUR, 1, [1, 2]), (LATER, 1, [7]), (HOUR, 2, [3, 4])):
            assert table.replace(hour, number, put(archive, hour, number, values), NOW_MS)
        connection.execute("INSTALL delta; LOAD delta")
        place = f"{folder}/series_table"
        query = f"SELECT hour, sum(value_int)::BIGINT FROM delta_scan('{place}') GROUP BY hour ORDER BY hour"
        found = connection.execute(query).fetchall()
    expected = [("2026-11-25T09", 7), ("2026-11-25T10", 7)]
    if found != expected:
        raise SystemExit(f"delta_scan sees {found}, and {expected} were written")


if __name__ == "__main__":
    main()
