"""Several jobs that are compacted at once give what each gives alone, byte for byte and count for count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.reader import RawObject
from pyro_assets.compaction.compact import compact
from pyro_assets.compaction.together import compact_jobs
from pyro_assets.errors import BlockError, TooLarge
from tests.support import golden_bucket, strategies

GOLDEN = golden_bucket.committed()


@pytest.mark.parametrize("dedup", ["exact", "original"])
@given(jobs=st.lists(strategies.jobs(), min_size=1, max_size=4))
def test_each_job_is_what_it_is_alone(dedup, jobs):
    raw = [[strategies.raw_object(model) for model in job] for job in jobs]
    together = compact_jobs(raw, dedup=dedup)
    for own, objects in zip(together.jobs, raw, strict=True):
        alone = compact(objects, dedup=dedup)
        assert [(one.tenant, one.id, one.data) for one in own.blocks] == [
            (one.tenant, one.id, one.data) for one in alone.blocks
        ]
        assert (own.duplicates, own.conflicts) == (alone.duplicates, alone.conflicts)
        assert own.facts == {name: alone.facts[name] for name in own.facts}
    assert len(together.job_of_dataset) == len(together.columns.datasets)


def test_what_is_broken_or_too_large_is_left_to_each_job_alone():
    first, second = ([RawObject(*source) for source in GOLDEN.sources(job[:3])] for job in GOLDEN.jobs[:2])
    with pytest.raises(TooLarge):
        compact_jobs([first, second], most_bytes=1)
    broken = [RawObject(second[0].object_key, second[0].data[:-100]), *second[1:]]
    with pytest.raises(BlockError):
        compact_jobs([first, broken])
