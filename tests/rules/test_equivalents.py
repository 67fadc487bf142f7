"""Other forms as rules of the language give the values of the originals; rules as text read back."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.reader import RawObject
from pyro_assets.compaction.compact import compact
from pyro_assets.rules.choice import equivalent_rules, rule_value, rules_text
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import Pattern
from pyro_assets.series.derive import Derived, derive
from pyro_assets.series.facts import JobInfo
from tests.support import golden_bucket

GOLDEN = golden_bucket.committed()
IDENTITY = ("profiles_rule_id", "pyroscope_instance", "pyroscope_shard")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def values_of(derived: Derived, name: str) -> dict[Any, int]:
    values = {}
    for row in (row for frame in derived.frames.values() for row in frame.iter_rows(named=True)):
        labels = tuple((one["name"], one["value"]) for one in row["labels"] if one["name"] not in IDENTITY)
        if row["rule"] == name and row["value_int"]:
            values[row["tenant"], row["metric"], labels] = row["value_int"]
    return values


def test_recording_rules_of_the_real_bucket():
    recorded = parse_config(json.dumps({"dimensions": {"selectors": []}, "recording_rules": GOLDEN.rules}))
    rules = equivalent_rules(recorded)
    compared = 0
    for keys in GOLDEN.jobs:
        columns = compact([RawObject(key, (GOLDEN.root / key).read_bytes()) for key in keys], dedup="original").columns
        info = JobInfo("job", 1, 0, "x")
        originals = derive(columns, info, recorded)
        for one, rule in zip(recorded.recording_rules, rules, strict=True):
            own = derive(columns, info, SeriesConfig(dimensions=recorded.dimensions, rules=[rule]))
            expected = values_of(originals, one.id)
            assert values_of(own, rule.name) == expected
            compared += len(expected)
    assert compared > 50


def test_every_form_of_the_file_is_one_configuration():
    plain = parse_config(json.dumps({"recording_rules": GOLDEN.rules}))
    assert parse_config(json.dumps(GOLDEN.rules)).hash == plain.hash
    import yaml

    assert parse_config(yaml.safe_dump({"recording_rules": GOLDEN.rules})).hash == plain.hash
    assert len({rule.name for rule in equivalent_rules(plain)}) == len(GOLDEN.rules)


PATTERNS = st.lists(st.builds(lambda text: Pattern(exact=text), TEXT) | st.just(Pattern(glob="a*")), max_size=3)


@given(
    st.builds(
        Rule, name=st.just("r"), functions=PATTERNS, description=TEXT, labels=st.dictionaries(TEXT, TEXT, max_size=2)
    )
)
def test_rules_read_back(rule):
    value = rule_value(rule)
    assert SeriesConfig.model_validate({"rules": [value]}).rules == [rule]
    from pyro_assets.rules.yaml_text import read_yaml

    assert read_yaml(rules_text([rule]), "x").value == {"rules": [value]}
