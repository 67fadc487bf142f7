"""Profiles and their labels -> the columns of a level-0 segment: series, rows and label sets.

Add here what decides which series a sample belongs to. Symbols are the business of `symbols`, bytes of the block
package. The rules are block-format facts: one row per sample type, pprof's string labels become series labels, span
and trace ids stay on the sample (FORMAT.md).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, BlockColumns, DatasetInfo, Labels, ProfileRows, SeriesTable
from pyro_assets.block.tsdb.labels import fingerprint, in_stored_order
from pyro_assets.errors import PprofError
from pyro_assets.generator.pprof.profile import Profile
from pyro_assets.generator.pprof.reader import parse_profile
from pyro_assets.generator.pprof.symbols import SymbolsBuilder, join_symbols

_NAME: Final = b"__name__"
_SERVICE: Final = b"service_name"
_UNKNOWN_SERVICE: Final = b"unknown_service"
#: pprof labels that say which span and trace a sample belongs to; `profile_id` is what older agents call a span.
_SPAN_KEYS: Final = (b"span_id", b"profile_id")
_TRACE_KEY: Final = b"trace_id"


@dataclass(frozen=True, slots=True)
class LabelledProfile:
    """One upload.

    Attributes:
        tenant: whose it is.
        labels: the series labels it came with: public ones (`service_name` names the dataset), `__name__` for the
            kind of profile ("process_cpu", "memory"), `__session_id__` where there is one.
        data: pprof bytes, or a profile that was read already.
        id: 16 bytes, the UUID of its rows; by default one that follows from the content.
    """

    tenant: str | bytes
    labels: Mapping[str, str] | Mapping[bytes, bytes]
    data: bytes | Profile
    id: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Upload:
    position: int
    labels: dict[bytes, bytes]
    profile: Profile
    id: bytes


@dataclass(frozen=True, slots=True)
class _Row:
    """One row to be: its series, what orders it, and its samples (ascending nodes, spans and traces or None)."""

    labels: Labels
    upload: _Upload
    nodes: I64
    values: I64
    links: list[tuple[int | None, bytes | None]]


def segment_columns(profiles: Sequence[LabelledProfile]) -> BlockColumns:
    """Make the columns of one segment.

    Samples that are zero for a sample type are left out of its row, and rows without samples altogether. Comments,
    frame filters and the default sample type of an upload are not kept: they name strings of a table that is gone.
    So are pprof's numeric labels, as in the original.

    Args:
        profiles: uploads of any tenants and services, in the order in which they came.

    Returns:
        One dataset per tenant and service, sorted by both; rows by series labels, time and order of arrival.

    Raises:
        PprofError: an upload is not a valid profile, has no `__name__`, or an id that is no UUID.
    """
    uploads: dict[tuple[bytes, bytes], list[_Upload]] = {}
    for position, item in enumerate(profiles):
        labels = {_bytes(name): _bytes(value) for name, value in item.labels.items() if value}
        if _NAME not in labels:
            raise PprofError(f"pprof: upload {position} has no label __name__; the upload is refused")
        if item.id is not None and len(item.id) != 16:
            raise PprofError(f"pprof: upload {position} has an id of {len(item.id)} bytes instead of 16")
        profile = item.data if isinstance(item.data, Profile) else parse_profile(item.data)
        upload = _Upload(position, labels, profile, item.id or _derive_id(item, labels))
        service = labels.setdefault(_SERVICE, _UNKNOWN_SERVICE)
        uploads.setdefault((_bytes(item.tenant), service), []).append(upload)
    datasets, tables, builders = [], [], []
    for (tenant, service), group in sorted(uploads.items(), key=lambda entry: entry[0]):
        builder = SymbolsBuilder()
        rows = [row for upload in group for row in _rows(upload, builder)]
        if rows:
            rows.sort(key=lambda row: (row.labels, row.upload.profile.time_ns, row.upload.position))
            datasets.append(_dataset(tenant, service, rows, builder))
            tables.append(rows)
            builders.append(builder)
    symbols = join_symbols(builders)
    series, entry = _series(tables)
    return BlockColumns(datasets, series, _profile_rows(tables, entry, symbols.node_start), symbols)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _derive_id(item: LabelledProfile, labels: dict[bytes, bytes]) -> bytes:
    """A UUID (version 8, "custom") of an upload's content."""
    digest = hashlib.sha256(repr((_bytes(item.tenant), sorted(labels.items()))).encode())
    if isinstance(item.data, Profile):
        profile = item.data
        digest.update(repr((profile.time_ns, profile.strings.to_pylist())).encode())
        for column in (profile.value, profile.stack_start, profile.stack_location, profile.label_text):
            digest.update(column.tobytes())
    else:
        digest.update(item.data)
    number = bytearray(digest.digest()[:16])
    number[6] = number[6] & 0x0F | 0x80
    number[8] = number[8] & 0x3F | 0x80
    return bytes(number)


def _rows(upload: _Upload, builder: SymbolsBuilder) -> list[_Row]:
    """One row per series of sample labels and per sample type, equal stacks of equal spans added up."""
    profile = upload.profile
    samples = np.flatnonzero(profile.value.any(axis=1))
    if not len(samples):
        return []
    nodes = builder.add(profile, samples)
    groups, group_labels, links, distinct_links = _sample_labels(profile, samples)
    order = np.lexsort((links, nodes, groups))
    groups, nodes, links = groups.take(order), nodes.take(order), links.take(order)
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(groups) != 0) | (np.diff(nodes) != 0) | (np.diff(links) != 0)
    first = np.flatnonzero(is_first)
    values = np.add.reduceat(profile.value.take(samples.take(order), axis=0), first, axis=0)
    groups, nodes, links = groups.take(first), nodes.take(first), links.take(first)
    bounds = np.searchsorted(groups, np.arange(len(group_labels) + 1)).tolist()
    rows = []
    for position, private in enumerate(_type_labels(upload)):
        for number, labels in enumerate(group_labels):
            part = slice(bounds[number], bounds[number + 1])
            used = np.flatnonzero(values[part, position])
            if len(used):
                series = in_stored_order((upload.labels | labels | private).items())
                rows.append(
                    _Row(
                        series,
                        upload,
                        nodes[part].take(used),
                        values[part, position].take(used),
                        [distinct_links[link] for link in links[part].take(used).tolist()],
                    )
                )
    return rows


def _type_labels(upload: _Upload) -> list[dict[bytes, bytes]]:
    """The private labels of each sample type."""
    profile, name = upload.profile, upload.labels[_NAME]
    rows = [*profile.sample_type.tolist(), *profile.sample_unit.tolist(), profile.period_type, profile.period_unit]
    texts = [profile.strings[row].as_py() for row in rows]
    period_type, period_unit = texts[-2:]
    types = len(profile.sample_type)
    return [
        {
            b"__profile_type__": b":".join((name, kind, unit, period_type, period_unit)),
            b"__service_name__": upload.labels[_SERVICE],
            _NAME: name,
            b"__type__": kind,
            b"__unit__": unit,
            b"__period_type__": period_type,
            b"__period_unit__": period_unit,
        }
        for kind, unit in zip(texts[:types], texts[types : 2 * types], strict=True)
    ]


_Link = tuple[int | None, bytes | None]


def _sample_labels(profile: Profile, samples: I64) -> tuple[I64, list[dict[bytes, bytes]], I64, list[_Link]]:
    """Splits the labels of samples.

    Returns:
        The group of each sample, the series labels of each group, the link of each sample (0 for none), and the span
        and trace id of each link.
    """
    groups: dict[tuple[tuple[int, int], ...], int] = {}
    links: dict[_Link, int] = {(None, None): 0}
    special: dict[int, bytes] = {}
    texts = profile.strings
    for key in np.unique(profile.label_key).tolist():
        name = texts[key].as_py()
        if name in _SPAN_KEYS or name == _TRACE_KEY:
            special[key] = name
    starts, keys, values = profile.label_start.tolist(), profile.label_key.tolist(), profile.label_text.tolist()
    group_of, link_of = [], []
    for sample in samples.tolist():
        pairs, span, trace = [], None, None
        for label in range(starts[sample], starts[sample + 1]):
            key, value = keys[label], values[label]
            if not value:
                continue
            if key not in special:
                pairs.append((key, value))
            elif special[key] == _TRACE_KEY:
                trace = _unhex(texts[value].as_py(), 16)
            else:
                # As the original reads it: the bytes in little-endian order.
                raw = _unhex(texts[value].as_py(), 8)
                span = None if raw is None else int.from_bytes(raw, "little")
        pairs.sort()
        group_of.append(groups.setdefault(tuple(pairs), len(groups)))
        link_of.append(links.setdefault((span, trace), len(links)))
    labels = [{texts[key].as_py(): value for key, row in group if (value := texts[row].as_py())} for group in groups]
    return np.array(group_of, np.int64), labels, np.array(link_of, np.int64), list(links)


def _unhex(text: bytes, size: int) -> bytes | None:
    """The bytes that hexadecimal digits name, None if they are not exactly `size`.

    >>> _unhex(b"4142", 2), _unhex(b"xyz", 2), _unhex(b"00", 2)
    (b'AB', None, None)
    """
    if len(text) != 2 * size:
        return None
    try:
        raw = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return None
    # Blanks between the digits are skipped, and do not make an id.
    return raw if len(raw) == size else None


def _dataset(tenant: bytes, service: bytes, rows: list[_Row], builder: SymbolsBuilder) -> DatasetInfo:
    times_ms = [row.upload.profile.time_ns // 1_000_000 for row in rows]
    types = sorted({dict(row.labels)[b"__profile_type__"] for row in rows})
    sets: list[Labels] = [((_SERVICE, service), (b"__profile_type__", kind)) for kind in types]
    if builder.unsymbolized:
        sets.append(((_SERVICE, service), (b"__unsymbolized__", b"true")))
    return DatasetInfo(0, tenant, service, min(times_ms), max(times_ms), tuple(sets))


def _series(tables: list[list[_Row]]) -> tuple[SeriesTable, I64]:
    """The distinct series, and which of them each row belongs to."""
    labels: list[Labels] = []
    starts, first_ns, last_ns, entry = [0], [], [], []
    for rows in tables:
        for row in rows:
            time_ns = row.upload.profile.time_ns
            if len(labels) == starts[-1] or labels[-1] != row.labels:
                labels.append(row.labels)
                first_ns.append(time_ns)
                last_ns.append(time_ns)
            last_ns[-1] = time_ns
            entry.append(len(labels) - 1)
        starts.append(len(labels))
    dataset_start = np.array(starts, np.int64)
    table = SeriesTable(
        dataset_start=dataset_start,
        fingerprint=np.array([fingerprint(one) for one in labels], np.uint64),
        labels=labels,
        series_index=np.arange(len(labels)) - np.repeat(dataset_start[:-1], np.diff(dataset_start)),
        min_time_ns=np.array(first_ns, np.int64),
        max_time_ns=np.array(last_ns, np.int64),
    )
    return table, np.array(entry, np.int64)


def _profile_rows(tables: list[list[_Row]], entry: I64, node_start: I64) -> ProfileRows:
    rows = [row for table in tables for row in table]
    unit = np.repeat(np.arange(len(tables), dtype=np.int64), [len(table) for table in tables])
    links = [link for row in rows for link in row.links]
    sizes = np.array([len(row.nodes) for row in rows], np.int64)
    profiles = [row.upload.profile for row in rows]
    return ProfileRows(
        dataset_start=np.cumsum([0, *(len(table) for table in tables)], dtype=np.int64),
        id=np.frombuffer(b"".join(row.upload.id for row in rows), np.uint8).reshape(len(rows), 16),
        series=entry,
        partition=np.zeros(len(rows), np.uint64),
        unit=unit,
        total_value=np.array([row.values.sum() for row in rows], np.int64),
        time_ns=np.array([profile.time_ns for profile in profiles], np.int64),
        sample_start=np.cumsum([0, *sizes], dtype=np.int64),
        stack=_joined([row.nodes for row in rows]) + np.repeat(node_start.take(unit), sizes),
        value=_joined([row.values for row in rows]),
        span_id=_optional([span for span, _ in links], pa.uint64()),
        trace_id=_optional([trace for _, trace in links], pa.binary(16)),
        duration_ns=_optional([profile.duration_ns or None for profile in profiles], pa.int64()),
        period=_optional([profile.period or None for profile in profiles], pa.int64()),
    )


def _joined(parts: list[I64]) -> I64:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _optional(values: list[Any], kind: Any) -> Any:
    """An Arrow array, or None if there is no value in it."""
    return None if all(value is None for value in values) else pa.array(values, kind)
