"""What a file of series says of the rules it was made with, so that a lost ledger is told by the files themselves.

Add a note when a rebuilt ledger could not do without it. Notes are texts in the metadata of the Parquet file.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pyro_assets.errors import SeriesError
from pyro_assets.ledger.records import SeriesFile

#: The snapshot of rules that the file was derived with, see `rule_records`.
_SNAPSHOT: Final = "pyro_assets.rules"
#: JSON: rules whose series were put in since, each with its hash and the snapshot it was in.
_LATER: Final = "pyro_assets.later"


def notes_of(file: SeriesFile) -> dict[str, str]:
    """What is noted in a file.

    >>> sorted(notes_of(SeriesFile("dimension", "key", 1, 1, "ab12")).items())
    [('pyro_assets.rules', 'ab12')]
    """
    notes = {_SNAPSHOT: file.config_hash} if file.config_hash else {}
    if file.later:
        notes[_LATER] = json.dumps(dict(file.later), sort_keys=True)
    return notes


def with_notes(file: SeriesFile, notes: Mapping[str, str]) -> SeriesFile:
    """A file as its notes tell it.

    Raises:
        SeriesError: a note is damaged.
    """
    try:
        found = json.loads(notes.get(_LATER, "{}"))
        later = {str(rule): (str(version), str(snapshot)) for rule, (version, snapshot) in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise SeriesError(f"the notes of {file.key} are damaged; derive its job again, which writes it anew") from error
    return replace(file, config_hash=notes.get(_SNAPSHOT), later=later)
