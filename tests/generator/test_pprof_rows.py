"""Uploads to segment columns: the same facts as plain loops find, in the order and with the labels of the format."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.columns import BlockColumns
from pyro_assets.errors import PprofError
from pyro_assets.generator.pprof import profile_pb2
from pyro_assets.generator.pprof.reader import parse_profile
from pyro_assets.generator.pprof.rows import LabelledProfile, segment_columns
from tests.oracle.bytes import xxh64
from tests.support import column_facts, made_pprof

SERVICES = st.sampled_from(["checkout", "billing", "büro"])
UPLOADS = st.lists(
    st.tuples(
        st.sampled_from(["acme", "globex"]),
        st.fixed_dictionaries(
            {"__name__": st.sampled_from(["process_cpu", "memory"]), "service_name": SERVICES, "pod": st.just("p-0")},
            optional={"__session_id__": st.just("00000000000000aa"), "region": st.sampled_from(["eu", ""])},
        ),
        made_pprof.messages(),
    ),
    max_size=4,
)


def columns_of(uploads: list[tuple]) -> BlockColumns:
    return segment_columns(
        [LabelledProfile(tenant, labels, message.SerializeToString()) for tenant, labels, message in uploads]
    )


def facts_of(columns: BlockColumns) -> dict[tuple[bytes, bytes], Counter]:
    """(tenant, service) -> (series labels, time, stack, span id, trace id) -> value."""
    found: dict[tuple[bytes, bytes], Counter] = {}
    stacks = column_facts.stacks_of(columns.symbols)
    rows = columns.rows
    spans = [None] * len(rows.value) if rows.span_id is None else rows.span_id.to_pylist()
    traces = [None] * len(rows.value) if rows.trace_id is None else rows.trace_id.to_pylist()
    for number, dataset in enumerate(columns.datasets):
        facts = found.setdefault((dataset.tenant, dataset.name), Counter())
        for row in range(rows.dataset_start[number], rows.dataset_start[number + 1]):
            labels = frozenset(columns.series.labels[rows.series[row]])
            for sample in range(rows.sample_start[row], rows.sample_start[row + 1]):
                frames = tuple(
                    (
                        tuple(
                            (line.name, line.system_name, line.file_name, line.start_line, line.line)
                            for line in frame.lines
                        ),
                        frame.address,
                        tuple(frame.mapping),
                        frame.is_folded,
                    )
                    for frame in stacks[rows.stack[sample]].frames
                )
                key = (labels, int(rows.time_ns[row]), frames, spans[sample], traces[sample])
                facts[key] += int(rows.value[sample])
    return found


@given(uploads=UPLOADS)
def test_facts(uploads: list[tuple]) -> None:
    wanted: dict[tuple[bytes, bytes], Counter] = {}
    for tenant, labels, message in uploads:
        texts = {name.encode(): value.encode() for name, value in labels.items() if value}
        own = made_pprof.facts_of(message, texts)
        if own:
            facts = wanted.setdefault((tenant.encode(), labels["service_name"].encode()), Counter())
            facts.update({(series, message.time_nanos, *rest): value for (series, *rest), value in own.items()})
    assert facts_of(columns_of(uploads)) == wanted


@given(uploads=UPLOADS)
def test_form(uploads: list[tuple]) -> None:
    """Sorted datasets, series, rows and stacks; references within their tables; totals and fingerprints."""
    columns = columns_of(uploads)
    rows, series, symbols = columns.rows, columns.series, columns.symbols
    names = [(dataset.tenant, dataset.name) for dataset in columns.datasets]
    assert names == sorted(set(names))
    assert len(rows.dataset_start) == len(series.dataset_start) == len(symbols.string_start) == len(names) + 1
    assert rows.unit.tolist() == np.repeat(np.arange(len(names)), np.diff(rows.dataset_start)).tolist()
    assert not rows.partition.any()
    for number in range(len(names)):
        begin, end = series.dataset_start[number : number + 2]
        assert series.labels[begin:end] == sorted(set(series.labels[begin:end]))
        assert series.series_index[begin:end].tolist() == list(range(end - begin))
        own = slice(*rows.dataset_start[number : number + 2])
        order = list(zip(rows.series[own].tolist(), rows.time_ns[own].tolist(), strict=True))
        assert order == sorted(order)
        assert sorted(set(rows.series[own].tolist())) == list(range(begin, end))
        nodes = slice(*symbols.node_start[number : number + 2])
        for row in range(own.start, own.stop):
            stack = rows.stack[rows.sample_start[row] : rows.sample_start[row + 1]]
            assert len(stack)
            assert nodes.start <= stack.min()
            assert stack.max() < nodes.stop
            assert (np.diff(stack) >= 0).all()
        assert symbols.node_parent[nodes.start] == symbols.node_location[nodes.start] == -1
    for row in range(len(rows.id)):
        values = rows.value[rows.sample_start[row] : rows.sample_start[row + 1]]
        assert values.all()
        assert int(rows.total_value[row]) == (sum(values.tolist()) + 2**63) % 2**64 - 2**63
        entry = rows.series[row]
        assert series.min_time_ns[entry] <= rows.time_ns[row] <= series.max_time_ns[entry]
    for labels, number in zip(series.labels, series.fingerprint.tolist(), strict=True):
        assert number == xxh64(b"".join(part + b"\xff" for label in labels for part in label))
        names_of = [name for name, _ in labels]
        assert names_of[:2] == [b"__profile_type__", b"__service_name__"]
        assert names_of[2:] == sorted(names_of[2:])


@given(uploads=UPLOADS)
def test_symbols_stand_once(uploads: list[tuple]) -> None:
    symbols = columns_of(uploads).symbols
    for unit in range(len(symbols.unit_dataset)):

        def part(starts: np.ndarray, *columns, unit: int = unit) -> list[tuple]:
            own = slice(*starts[unit : unit + 2])
            return list(zip(*(column[own].tolist() for column in columns), strict=True))

        strings = symbols.strings.to_pylist()[slice(*symbols.string_start[unit : unit + 2])]
        assert strings[0] == b""
        lines = [
            tuple(zip(symbols.line_function[a:b].tolist(), symbols.line_number[a:b].tolist(), strict=True))
            for a, b in zip(symbols.line_start[:-1], symbols.line_start[1:], strict=True)
        ][slice(*symbols.location_start[unit : unit + 2])]
        locations = part(
            symbols.location_start, symbols.location_mapping, symbols.location_address, symbols.location_is_folded
        )
        for table in (
            strings,
            part(
                symbols.function_start,
                symbols.function_name,
                symbols.function_system_name,
                symbols.function_file_name,
                symbols.function_start_line,
            ),
            part(
                symbols.mapping_start,
                symbols.mapping_file_name,
                symbols.mapping_build_id,
                symbols.mapping_flags,
                symbols.mapping_memory_start,
                symbols.mapping_memory_limit,
                symbols.mapping_file_offset,
            ),
            [(*location, own) for location, own in zip(locations, lines, strict=True)],
            part(symbols.node_start, symbols.node_parent, symbols.node_location),
        ):
            assert len(table) == len(set(table))
    assert symbols.dangling.sum() == 0


def upload(*samples: dict, labels: dict | None = None, types=((1, 2),), **fields) -> LabelledProfile:
    """An upload whose samples are given as messages; strings 0 to 20 are "", "s1", "s2" ... but for label names."""
    texts = [f"s{number}".encode() if number else b"" for number in range(21)]
    texts[10:14] = [b"vehicle", b"span_id", b"trace_id", b"pod"]
    message = profile_pb2.Profile(
        sample_type=[{"type": kind, "unit": unit} for kind, unit in types],
        sample=samples,
        mapping=[{"id": 1, "has_functions": True}, {"id": 2}],
        location=[
            {"id": 1, "mapping_id": 1, "address": 11, "line": [{"function_id": 1, "line": 5}]},
            {"id": 2, "mapping_id": 1, "address": 22, "line": [{"function_id": 1, "line": 5}]},
            {"id": 3, "mapping_id": 2, "address": 33},
            {"id": 4, "mapping_id": 1, "address": 44},
        ],
        function=[{"id": 1, "name": 3}],
        string_table=texts,
        **{"time_nanos": 1_700_000_000_123_456_789, "period_type": {"type": 4, "unit": 5}, **fields},
    )
    given_labels = {"__name__": "process_cpu", "service_name": "checkout"} | (labels or {})
    return LabelledProfile("acme", given_labels, message.SerializeToString())


def test_labels_of_a_series() -> None:
    [labels] = segment_columns(
        [upload({"location_id": [1], "value": [1]}, labels={"pod": "p", "__session_id__": "0a", "Zone": "z"})]
    ).series.labels
    assert labels == (
        (b"__profile_type__", b"process_cpu:s1:s2:s4:s5"),
        (b"__service_name__", b"checkout"),
        (b"Zone", b"z"),
        (b"__name__", b"process_cpu"),
        (b"__period_type__", b"s4"),
        (b"__period_unit__", b"s5"),
        (b"__session_id__", b"0a"),
        (b"__type__", b"s1"),
        (b"__unit__", b"s2"),
        (b"pod", b"p"),
        (b"service_name", b"checkout"),
    )


def test_string_labels_make_series_and_override_the_uploads() -> None:
    columns = segment_columns(
        [
            upload(
                {"location_id": [1], "value": [1], "label": [{"key": 10, "str": 6}, {"key": 13, "str": 7}]},
                {"location_id": [1], "value": [2], "label": [{"key": 13, "str": 7}, {"key": 10, "str": 6}]},
                {"location_id": [1], "value": [4], "label": [{"key": 10, "num": 6}]},
                {"location_id": [1], "value": [8], "label": [{"key": 10, "str": 0}]},
                labels={"pod": "p"},
            )
        ]
    )
    public = [{k: v for k, v in labels if not k.startswith(b"__")} for labels in columns.series.labels]
    assert public == [
        {b"pod": b"p", b"service_name": b"checkout"},
        {b"pod": b"s7", b"service_name": b"checkout", b"vehicle": b"s6"},
    ]
    assert columns.rows.value.tolist() == [12, 3]


def test_spans_stay_on_the_sample() -> None:
    def sample(value: int, span: int = 0, trace: int = 0) -> dict:
        labels = [{"key": 11, "str": span}] * bool(span) + [{"key": 12, "str": trace}] * bool(trace)
        return {"location_id": [1], "value": [value], "label": labels}

    item = upload(sample(1, 14), sample(2), sample(4, 14, 15), sample(8, 14), sample(16, 16))
    message = profile_pb2.Profile()
    message.ParseFromString(item.data)
    message.string_table[14] = b"00f067aa0ba902b7"
    message.string_table[15] = b"4bf92f3577b34da6a3ce929d0e0e4736"
    item = LabelledProfile(item.tenant, item.labels, message.SerializeToString())
    rows = segment_columns([item]).rows
    span = int.from_bytes(bytes.fromhex("00f067aa0ba902b7"), "little")
    trace = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
    found = zip(rows.value.tolist(), rows.span_id.to_pylist(), rows.trace_id.to_pylist(), strict=True)
    # What is no span id (16) counts as none.
    assert set(found) == {(9, span, None), (18, None, None), (4, span, trace)}
    assert len(rows.id) == 1


def test_equal_stacks_add_up_and_zeros_are_left_out() -> None:
    """Locations 1 and 2 differ in nothing but their address, which a named frame does not keep."""
    columns = segment_columns(
        [
            upload(
                {"location_id": [1], "value": [1, 0]},
                {"location_id": [2], "value": [2, 0]},
                {"location_id": [3, 1], "value": [5, 7]},
                {"location_id": [4], "value": [3, -7]},
                {"location_id": [4], "value": [-3, 7]},
                types=((1, 2), (3, 4)),
            )
        ]
    )
    rows = columns.rows
    assert np.diff(rows.sample_start).tolist() == [2, 1]
    assert sorted(rows.value[:2].tolist()) == [3, 5]
    assert rows.value[2:].tolist() == [7]
    assert rows.id[0].tobytes() == rows.id[1].tobytes()


def test_native_frames_keep_their_address() -> None:
    symbols = segment_columns([upload({"location_id": [1, 3, 4], "value": [1]})]).symbols
    assert sorted(symbols.location_address.tolist()) == [0, 33, 44]


@pytest.mark.parametrize(("location", "unsymbolized"), [(1, False), (3, True), (4, False)])
def test_label_sets(location: int, unsymbolized: bool) -> None:
    item = upload({"location_id": [location], "value": [1, 1]}, types=((3, 4), (1, 2)))
    [dataset] = segment_columns([item]).datasets
    sets = [
        ((b"service_name", b"checkout"), (b"__profile_type__", b"process_cpu:s1:s2:s4:s5")),
        ((b"service_name", b"checkout"), (b"__profile_type__", b"process_cpu:s3:s4:s4:s5")),
    ]
    if unsymbolized:
        sets.append(((b"service_name", b"checkout"), (b"__unsymbolized__", b"true")))
    assert dataset.label_sets == tuple(sets)
    assert (dataset.min_time_ms, dataset.max_time_ms) == (1_700_000_000_123, 1_700_000_000_123)


def test_times_and_periods() -> None:
    rows = segment_columns([upload({"location_id": [1], "value": [1]}, duration_nanos=7, period=9)]).rows
    assert (rows.duration_ns.to_pylist(), rows.period.to_pylist()) == ([7], [9])
    rows = segment_columns([upload({"location_id": [1], "value": [1]}, time_nanos=0)]).rows
    assert (rows.duration_ns, rows.period, rows.time_ns.tolist()) == (None, None, [0])


def test_nothing_to_say() -> None:
    for items in ([], [upload()], [upload({"location_id": [1], "value": [0]})]):
        columns = segment_columns(items)
        assert columns.datasets == []
        assert columns.rows.dataset_start.tolist() == [0]
        assert columns.symbols.node_start.tolist() == [0]


def test_ids_follow_from_content_or_are_given() -> None:
    one, same, other = (upload({"location_id": [1], "value": [value]}) for value in (1, 1, 2))
    found = [segment_columns([item]).rows.id[0].tobytes() for item in (one, same, other)]
    assert found[0] == found[1] != found[2]
    assert found[0][6] >> 4 == 8
    assert found[0][8] >> 6 == 2
    parsed = [LabelledProfile("acme", one.labels, parse_profile(item.data)) for item in (one, other)]
    assert len({segment_columns([item]).rows.id[0].tobytes() for item in parsed}) == 2
    given_id = LabelledProfile("acme", one.labels, one.data, b"0123456789abcdef")
    assert segment_columns([given_id]).rows.id.tobytes() == b"0123456789abcdef"


def test_equal_uploads_stay_two_rows() -> None:
    """A repeated push is for compaction to find."""
    item = upload({"location_id": [1], "value": [1]})
    rows = segment_columns([item, item]).rows
    assert rows.series.tolist() == [0, 0]
    assert rows.id[0].tobytes() == rows.id[1].tobytes()


def test_bytes_serve_as_text() -> None:
    item = upload({"location_id": [1], "value": [1]})
    raw = {name.encode(): value.encode() for name, value in item.labels.items()} | {b"odd": b"\xff"}
    columns = segment_columns([LabelledProfile(b"\xfe", raw, item.data)])
    assert columns.datasets[0].tenant == b"\xfe"
    assert (b"odd", b"\xff") in columns.series.labels[0]


def test_a_service_without_a_name() -> None:
    item = upload({"location_id": [1], "value": [1]})
    [dataset] = segment_columns([LabelledProfile("acme", {"__name__": "memory"}, item.data)]).datasets
    assert dataset.name == b"unknown_service"


def test_refused_uploads() -> None:
    good = upload({"location_id": [1], "value": [1]})
    with pytest.raises(PprofError, match="upload 1 has no label __name__"):
        segment_columns([good, LabelledProfile("acme", {"service_name": "x"}, good.data)])
    with pytest.raises(PprofError, match="pprof: the gzip ends too early"):
        segment_columns([good, LabelledProfile("acme", good.labels, b"\x1f\x8b")])
    with pytest.raises(PprofError, match="an id of 15 bytes"):
        segment_columns([LabelledProfile("acme", good.labels, good.data, bytes(15))])
