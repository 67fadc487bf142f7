"""The series of closed hours as one Delta Lake table, `series_table/`, that any tool reads: which files belong to it.

An hour enters it, is replaced and leaves it by one commit for both kinds. Its number is kept in the table's own log, so
that a writer that began earlier and commits later changes nothing. Files are written by our own bucket before (see
`series.files`); when an hour is merged is decided by `merge`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyro_assets.errors import TableUnavailable
from pyro_assets.settings import KINDS
from pyro_assets.storage.interface import Bucket, ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import TABLE, hour_from_path, hour_path, parse_series_name, series_prefix
from pyro_assets.storage.shown import first_line

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: Other writers that may be faster: each of them has done its part then.
_TRIES: Final = 20
_PARTITIONS: Final = ["kind", "hour"]
#: Replaced files stay for readers of an older version of the table; no merge of an hour takes longer than this.
GRACE_HOURS: Final = 24
_CONFIGURATION: Final = {
    "delta.checkpointInterval": "24",
    "delta.deletedFileRetentionDuration": f"interval {GRACE_HOURS} hours",
    "delta.logRetentionDuration": "interval 7 days",
}


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is in the bucket and shall be in the table.

    Attributes:
        smallest, largest: as `Piece` has them.
    """

    key: str
    kind: str
    size_bytes: int
    rows: int
    smallest: Mapping[str, Any]
    largest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ArchiveTable:
    """The table of an archive.

    Attributes:
        archive: the bucket that it lies in.
    """

    archive: ReadOnlyBucket

    @property
    def why_not(self) -> str:
        """Why the archive can have no table, "" where it can."""
        return self.archive.delta_place(TABLE).why_not

    def files(self) -> dict[str, list[ObjectInfo]]:
        """Hour (partition key) -> files of both kinds that count, by key; nothing while there is no table.

        Raises:
            TableUnavailable: it cannot be read.
        """
        import pyarrow as pa

        found: dict[str, list[ObjectInfo]] = {}
        with self._translated():
            table = self._open()
            if table is not None:
                actions = pa.table(table.get_add_actions(flatten=True))
                columns = (actions["partition.hour"], actions["path"], actions["size_bytes"])
                for hour, path, size_bytes in sorted(zip(*(column.to_pylist() for column in columns), strict=True)):
                    found.setdefault(hour_from_path(hour), []).append(ObjectInfo(f"{TABLE}/{path}", size_bytes))
        return found

    def replace(self, hour: str, number: int, files: Sequence[NewFile], now_ms: int) -> bool:
        """Puts files in the place of all that the table has of an hour, by one commit.

        Args:
            hour: partition key.
            number: of this merge or removal; no other has it.
            files: none where the hour's series were removed.
            now_ms: Unix milliseconds.

        Returns:
            False where the hour has a greater number already; nothing was changed then.

        Raises:
            TableUnavailable: the table cannot be read or written.
        """
        from deltalake import CommitProperties, Transaction
        from deltalake.exceptions import CommitFailedError

        part = hour_path(hour)
        actions = [_action(file, part, now_ms) for file in files]
        for _ in range(_TRIES):
            with self._translated():
                table = self._open(create=bool(files))
                if table is None:
                    return True
                before = table.transaction_version(part)
                if before is not None and before >= number:
                    return before == number
                try:
                    table.create_write_transaction(
                        actions,
                        "overwrite",
                        schema=table.schema(),
                        partition_by=_PARTITIONS,
                        partition_filters=[("hour", "=", part)],
                        # Two that write the same hour at once are in conflict by this alone, though it be a new one.
                        commit_properties=CommitProperties(app_transactions=[Transaction(part, number)]),
                    )
                except CommitFailedError:
                    continue
                return True
        why = f"{_TRIES} commits of {hour} met those of others"
        raise TableUnavailable(f"{self.archive.url}/{TABLE}: {why}; {_LATER}", key=TABLE)

    def tidy(self, *, apply: bool) -> list[str]:
        """Removes files that left the table a day ago, or never came into it, and shortens its log.

        Args:
            apply: False only tells.

        Returns:
            Keys of these files.

        Raises:
            TableUnavailable: the table cannot be read or written.
        """
        with self._translated():
            table = self._open()
            if table is None:
                return []
            if apply:
                table.create_checkpoint()
                table.cleanup_metadata()
            gone = table.vacuum(GRACE_HOURS, dry_run=not apply, enforce_retention_duration=False, full=True)
            return sorted(f"{TABLE}/{path}" for path in gone)

    def _open(self, *, create: bool = False) -> "DeltaTable | None":
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        place = self.archive.delta_place(TABLE)
        if place.why_not:
            return None
        options = dict(place.options)
        try:
            return DeltaTable(place.url, storage_options=options)
        except TableNotFoundError:
            if not create:
                return None
        return DeltaTable.create(
            place.url,
            _schema(),
            mode="ignore",
            partition_by=_PARTITIONS,
            name="pyro_assets_series",
            description="Series of closed hours; job and row say where each sample is from",
            configuration=_CONFIGURATION,
            storage_options=options,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (DeltaError, OSError, ValueError, pa.ArrowException) as error:
            raise TableUnavailable(
                f"{self.archive.url}/{TABLE} cannot be used: {first_line(error)}; {_LATER}", key=TABLE
            ) from error


_LATER: Final = "nothing is lost, files of series stay as they are, and the next merge tries again"


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return kind


def _schema() -> Any:
    import pyarrow as pa

    from pyro_assets.series.files import PIECE_SCHEMA

    own = ((field.name, _plain(field.type)) for field in PIECE_SCHEMA)
    return pa.schema([*own, *((name, pa.string()) for name in _PARTITIONS)])


def _action(file: NewFile, part: str, now_ms: int) -> Any:
    from deltalake.transaction import AddAction

    stats: Mapping[str, Any] = {
        "numRecords": file.rows,
        "minValues": file.smallest,
        "maxValues": file.largest,
        "nullCount": dict.fromkeys(file.smallest, 0),
    }
    path, place = file.key.removeprefix(f"{TABLE}/"), {"kind": file.kind, "hour": part}
    return AddAction(path, file.size_bytes, place, now_ms, True, json.dumps(stats, sort_keys=True))


def keys_of(files: Iterable[ObjectInfo], kind: str) -> list[str]:
    """Keys of the files of a kind."""
    return [file.key for file in files if file.key.startswith(f"{TABLE}/kind={kind}/")]


def remove_older(archive: Bucket, hour: str, number: int) -> None:
    """Removes files of jobs with smaller numbers than `number`.

    Nobody writes to them, but a worker that lost its lease; whatever it wrote is in no ledger.
    """
    for kind in sorted(KINDS):
        for page in archive.pages(series_prefix(kind, hour)):
            old = [item.key for item in page if parse_series_name(item.key)[1] < number]
            archive.remove(old)
