"""Uploads are pprof that says what was counted, read by a decoder that shares nothing with the writer."""

import gzip

import pytest

from pyro_assets.generator.counts import KINDS, Kind, count
from pyro_assets.generator.fleet import SERVICES, Pod, Service
from pyro_assets.generator.programs import build_program
from pyro_assets.generator.upload import ProfileEncoder
from tests.oracle.bytes import packed, protobuf_fields

TIME_NS = 1_795_608_000_123_456_789
PAIRS = [(service, kind) for service in SERVICES for kind in KINDS if service.language in kind.languages]
EACH = pytest.mark.parametrize(("service", "kind"), PAIRS, ids=lambda value: getattr(value, "name", ""))


@EACH
def test_counts_and_bytes_can_be_repeated(service: Service, kind: Kind):
    program = build_program(service, 1)
    first, again = (count(program, Pod(service, 1), kind, TIME_NS, 1) for _ in range(2))
    assert first == again
    assert ProfileEncoder(program, kind).encode(first) == ProfileEncoder(build_program(service, 1), kind).encode(again)
    assert first != count(program, Pod(service, 0), kind, TIME_NS, 1)


@EACH
def test_the_bytes_say_what_was_counted(service: Service, kind: Kind):
    program = build_program(service, 1)
    counts = count(program, Pod(service, 0), kind, TIME_NS, 1)
    fields = protobuf_fields(gzip.decompress(ProfileEncoder(program, kind).encode(counts)))
    strings = [text.decode() for text in fields[6]]
    types = [protobuf_fields(raw) for raw in fields[1]]
    assert tuple((strings[one[1][0]], strings[one[2][0]]) for one in types) == kind.sample_types
    assert (fields[9], fields[10], fields[12]) == ([TIME_NS], [10_000_000_000], [kind.period])
    functions = {raw[1][0]: strings[raw[2][0]] for raw in map(protobuf_fields, fields[5])}
    locations = {}
    for raw in map(protobuf_fields, fields[4]):
        lines = [protobuf_fields(line) for line in raw.get(4, [])]
        locations[raw[1][0]] = [functions[line[1][0]] for line in lines]
    decoded = []
    for raw in map(protobuf_fields, fields[2]):
        stack = [name for number in packed(raw[1]) for name in locations[number]]
        pairs = [protobuf_fields(label) for label in raw.get(3, [])]
        labels = {strings[pair[1][0]]: strings[pair[2][0]] for pair in pairs}
        decoded.append((frozenset(stack), tuple(packed(raw[2])), labels))
    expected = [
        (
            sample.stack.functions,
            sample.values,
            dict(kind.labels_of(sample.stack)) | ({"span_id": sample.span_id} if sample.span_id else {}),
        )
        for sample in counts.samples
    ]
    assert decoded == expected
    assert decoded


@pytest.mark.parametrize("service", [service for service in SERVICES if service.language == "go"])
def test_levels_are_never_zero(service: Service):
    """A profile whose only level is 0 would make no row, and the manifest could not tell which one is the last."""
    program = build_program(service, 1)
    for second in range(0, 7200, 60):
        time_ns = TIME_NS + second * 1_000_000_000
        for kind in KINDS:
            counts = count(program, Pod(service, 0), kind, time_ns, 1)
            if kind.key in ("heap", "goroutine"):
                assert sum(sample.values[-1] for sample in counts.samples)


def test_plain_pprof_is_what_the_compressed_one_holds():
    service = SERVICES[0]
    program = build_program(service, 1)
    counts = count(program, Pod(service, 0), KINDS[0], TIME_NS, 1)
    plain = ProfileEncoder(program, KINDS[0], compress=False).encode(counts)
    assert gzip.decompress(ProfileEncoder(program, KINDS[0]).encode(counts)) == plain
