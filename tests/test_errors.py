"""The exception tree: drawn completely, and able to travel between processes."""

import inspect
import pickle

import pytest

from pyro_assets import errors

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.PyroAssetsError)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_is_in_the_picture(kind):
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "error",
    [
        errors.Truncated("footer", errors.Where("k", "footer"), offset=3, expected=8, actual=2),
        errors.ConfigError("rules.yaml", 4, "functions", "must be a mapping"),
        errors.SelectorError("{", 1, "ends too early"),
        errors.ObjectMissing("gone", key="segments/1"),
        errors.LeaseLost("another worker has it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling_with_their_values(error):
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert {**vars(twin), "problems": None} == {**vars(error), "problems": None}  # `problems` may hold the error itself


def test_a_block_error_says_what_where_and_what_to_do():
    error = errors.ChecksumMismatch(
        "CRC of the series", errors.Where("k/b", "tsdb", "checkout"), offset=7, expected=1, actual=2
    )
    assert "CRC of the series (k/b, dataset checkout, section tsdb at byte 7): expected 1, found 2" in str(error)
    assert "set aside" in str(error)


def test_a_long_name_in_untrusted_bytes_does_not_make_a_long_message():
    where = errors.Where("segments/1/anonymous/01/block.bin", "metadata", "x" * 1_000_000)
    error = errors.BadIndex("string of " + "y" * 1_000_000, where, expected="z" * 1_000_000, actual=["z" * 1_000_000])
    assert len(str(error)) < 10_000
    assert "segments/1/anonymous/01/block.bin" in str(error)
