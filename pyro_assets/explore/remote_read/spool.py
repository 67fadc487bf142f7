"""Pieces of series between reading and sending: they come hour by hour and leave series by series.

Small answers stay in memory, others go to a file without a name that ends with the spool. What a piece holds is
`encode`'s.
"""

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

import numpy as np

from pyro_assets.block.columns import I64
from pyro_assets.errors import QueryTooLarge
from pyro_assets.explore.remote_read.encode import EncodedSeries

_IN_MEMORY: Final = 16 << 20


class SeriesSpool:
    """Keeps pieces of series.

    Attributes:
        size_bytes: of all pieces.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - lives as long as the spool
        self._series: list[I64] = []
        self._begins: list[I64] = []
        self._sizes: list[I64] = []
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # of an answer that nobody fetched to its end

    def close(self) -> None:
        """Lets go of everything; twice does not matter."""
        self._file.close()

    def add(self, series: I64, pieces: EncodedSeries) -> None:
        """Keeps one piece of each of these series.

        Raises:
            QueryTooLarge: there is no room for it.
        """
        try:
            self._file.write(pieces.data)
        except OSError as error:
            raise QueryTooLarge(
                f"there is no room for an answer of more than {self.size_bytes >> 20} MiB in {tempfile.gettempdir()} "
                f"({error.strerror}); ask for fewer series or hours, or let TMPDIR name a larger folder"
            ) from error
        self._series.append(series)
        self._begins.append(pieces.ends[:-1] + self.size_bytes)
        self._sizes.append(np.diff(pieces.ends))
        self.size_bytes += len(pieces.data)

    def sizes(self, count: int) -> I64:
        """int64[count]: bytes of each series."""
        if not self._series:
            return np.zeros(count, dtype=np.int64)
        weights = np.concatenate(self._sizes)
        return np.bincount(np.concatenate(self._series), weights, count).astype(np.int64)

    def series(self, order: I64) -> Iterator[bytes]:
        """Everything that was kept of each series, in the order of adding.

        Args:
            order: int64[n], series in the order wanted, each once.
        """
        if not self._series:
            yield from (b"" for _ in order)
            return
        series = np.concatenate(self._series)
        place = np.argsort(series, kind="stable")
        begins = np.concatenate(self._begins).take(place)
        sizes = np.concatenate(self._sizes).take(place)
        first = np.searchsorted(series.take(place), order, side="left")
        last = np.searchsorted(series.take(place), order, side="right")
        for begin, end in zip(first.tolist(), last.tolist(), strict=True):
            parts = []
            for at, size in zip(begins[begin:end].tolist(), sizes[begin:end].tolist(), strict=True):
                self._file.seek(at)
                parts.append(self._file.read(size))
            yield b"".join(parts)
