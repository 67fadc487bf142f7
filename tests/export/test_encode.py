"""Messages: byte for byte what protobuf writes, whatever the labels, and never two times in one."""

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.export.remote_write.batch import cut_batches, prepare
from pyro_assets.export.remote_write.encode import Encoder, compress
from pyro_assets.receivers.model import Receiver
from tests.support.remote_write import NOW_MS, decode_body, decode_message, many, row, samples, write_request_class

WriteRequest = write_request_class()
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


def receiver(**fields) -> Receiver:
    return Receiver(
        **({"name": "r", "url": "http://localhost/api/v1/write", "kind": "prometheus", "tenants": ["acme"]} | fields)
    )


def test_the_golden_request():
    one = samples(row("up", 1.0, 1_700_000_000_000, job="x"))
    message = bytes(Encoder(one).encode(0, 1).data)
    assert message.hex() == (
        "0a2c0a0e0a085f5f6e616d655f5f120275700a080a036a6f62120178121009000000000000f03f1080d095ffbc31"
    )
    assert compress(message).hex().startswith("2eb4")
    assert isinstance(compress(message), bytes)
    assert cramjam.snappy.decompress_raw(compress(message)).read() == message


@given(
    st.lists(
        st.tuples(
            st.dictionaries(TEXT.filter(bool), TEXT, max_size=6),
            st.floats(allow_nan=False, allow_infinity=False).filter(bool),
            TEXT.filter(bool),
        ),
        min_size=1, max_size=12,
    ),
    st.integers(1, 2**62),
)  # fmt: skip
def test_messages_are_those_of_protobuf(rows: list[tuple[dict[str, str], float, str]], timestamp_ms: int):
    rows = [(labels, value, metric) for labels, value, metric in rows if "__name__" not in labels]
    given_rows = [
        row(metric, value, timestamp_ms) | {"labels": [{"name": n, "value": v} for n, v in labels.items()]}
        for labels, value, metric in rows
    ]
    if not rows:
        return
    expected = WriteRequest()
    for labels, value, metric in rows:
        series = expected.timeseries.add()
        for name, text in sorted((labels | {"__name__": metric}).items(), key=lambda item: item[0].encode()):
            if text:  # an empty label is none
                series.labels.add(name=name, value=text)
        series.samples.add(value=value, timestamp=timestamp_ms)
    encoder = Encoder(samples(*given_rows))
    encoded = encoder.encode(0, len(rows))
    assert bytes(encoded.data) == expected.SerializeToString()
    assert encoder.size.tolist() == [series.ByteSize() + _head(series.ByteSize()) for series in expected.timeseries]
    assert len(list(decode_message(bytes(encoded.data)))) == len(rows)


def _head(size: int) -> int:
    return 1 + max(1, -(-size.bit_length() // 7))


@pytest.mark.parametrize("value", [0.0, -0.0, 2.0**60, 5e-324, -1.7e308, 12494962897.0])
def test_values_survive_exactly(value: float):
    ((_, decoded, time),) = decode_message(bytes(Encoder(samples(row(value=value))).encode(0, 1).data))
    assert (decoded.hex(), time) == (value.hex(), NOW_MS)


def test_two_times_in_one_request_are_an_error():
    two = samples(row(pod="a"), row(pod="b", timestamp_ms=NOW_MS + 1))
    with pytest.raises(ValueError, match="2 timestamps"):
        Encoder(two).encode(0, 2)


def test_labels_are_in_byte_order_with_those_of_the_receiver():
    config = receiver(labels={"zone": "z", "Area": "a"}, tenant_label="tenant", tenants=["*"])
    (batch,) = cut_batches(prepare(samples(row(B="1", a="2", _u="3")), config, NOW_MS).samples, config)
    ((labels, _, _),) = decode_body(batch.body())
    assert [name for name, _ in labels] == ["Area", "B", "__name__", "_u", "a", "tenant", "zone"]


def test_slices_of_a_batch_are_requests_of_their_own():
    config = receiver()
    (batch,) = cut_batches(prepare(many(10), config, NOW_MS).samples, config)
    whole = decode_body(batch.body())
    first, second = batch.halves()
    assert decode_body(first.body()) + decode_body(second.body()) == whole
    assert decode_body(second.halves()[1].slice(1, 2).body()) == whole[9:]
    assert second.halves()[1].refusal(1, "rejected").labels["pod"] == "p00009"
    assert batch.origins() == {("r", batch.org_id): 10}
