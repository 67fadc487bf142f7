"""Every failure of the project by name.

Add a class here when a caller must tell one failure from another; messages say what, where, expected, actual
and what to do. Logic does not belong here.

    PyroAssetsError
    ├── StorageError
    │   ├── ObjectMissing         listed, but gone when read
    │   ├── ObjectChanged         shorter or longer than the listing said
    │   ├── ObjectConflict        to be created, but there with other bytes
    │   ├── ObjectUnreadable      the bucket gives out others, but not this one
    │   ├── BadRecord             a record in the archive that does not parse, or is not what was written
    │   ├── NotABlockKey          a key under segments/ or blocks/ that names no block
    │   └── StorageUnavailable    the bucket does not answer, throttles or refuses
    │       ├── TableUnavailable  the table of series cannot be read or written
    │       ├── Throttled         too many requests: those that it answers say nothing of the others
    │       └── AccessRefused     credentials, permissions, or no such bucket: a person must correct that
    ├── RemovedByRetention        retention removed what was asked for
    ├── BlockError                one object is not what the format says
    │   ├── Truncated             the bytes end before the structure does
    │   ├── BadMagic              not the structure that was expected
    │   ├── UnsupportedVersion    a version this reader does not know
    │   ├── ChecksumMismatch      a CRC-32C differs
    │   ├── BadLength             a length that its surroundings contradict
    │   ├── BadCount              a number of items that cannot be
    │   ├── BadIndex              a reference past the end of what it refers to
    │   ├── BadEncoding           an integer stream or Parquet file that does not decode
    │   ├── BadMetadata           the BlockMeta message contradicts itself or the object
    │   └── Unwritable            columns that the format cannot express
    ├── Unequal                   what was made of blocks does not hold what they hold
    ├── TooLarge                  several objects that need more memory together than they may
    ├── PprofError                an upload is not a valid pprof profile
    ├── SeriesError
    │   ├── ConfigError           a configuration file, with file and line
    │   ├── SelectorError         a label selector that does not parse
    │   ├── DamagedSeries         a file of series is not what was written
    │   └── ValueOverflow         a sum that does not fit int64
    ├── LedgerError
    │   ├── LedgerUnavailable     the database cannot be reached or opened
    │   ├── LedgerDamaged         the database's file is broken, or no database
    │   ├── SchemaMismatch        the ledger was written by another version
    │   ├── RebuildNeeded         the ledger lost what the archive remembers
    │   ├── LeaseLost             another worker owns the job now
    │   ├── StaleRule             a rule has changed since the edit began
    │   └── JobConflict           a source already belongs to another job
    ├── ExportError               series do not get to where they shall go
    │   ├── ReceiverMisconfigured it refuses us whatever we send: URL, credentials, headers
    │   │   └── SecretMissing     the variable or file of a secret is not there
    │   ├── ReceiverUnavailable   no useful answer until the time for retries was over
    │   │   └── SendingStopped    we were asked to stop before the receiver was asked
    │   └── BadAnswer             it answers a question with something that cannot be read
    ├── QueryError                a question in another tool's protocol gets no answer
    │   ├── BadQuery              it does not parse, or contradicts itself
    │   ├── QueryTooLarge         it needs more than one question may
    │   ├── NotOffered            something that the protocol has, but not this project
    │   └── NothingFound          it names a thing that is not there
    ├── DagsterError              Dagster's webserver does not do what was asked
    │   └── DagsterUnavailable    it does not answer, or has not loaded our code
    ├── SettingsError             settings that contradict each other
    └── ProgramError              the program is at fault, whatever the job: an import, a name, a call that does not fit
"""

from dataclasses import dataclass
from typing import Any

#: Characters of one value in a message; keys of objects are shorter.
_LONGEST_VALUE = 1500


class PyroAssetsError(Exception):
    """The root: whatever this project raises on purpose. All of them travel between processes (pickle)."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with the message alone, which classes with more arguments refuse.
        return _revive, (type(self), self.args), self.__dict__


def _revive(kind: type["PyroAssetsError"], arguments: tuple[Any, ...]) -> "PyroAssetsError":
    return kind.__new__(kind, *arguments)


class StorageError(PyroAssetsError):
    """A bucket did not do what was asked; `key` is the object or prefix concerned."""

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class ObjectMissing(StorageError):
    """The object was listed but is gone."""


class ObjectChanged(StorageError):
    """The object's size differs from what the listing said."""


class ObjectConflict(StorageError):
    """The object was to be created but exists with other bytes, which were left alone."""


class ObjectUnreadable(StorageError):
    """The bucket gives out other objects, but not these.

    Attributes:
        keys: of those that are not given out.
        may_pass: whether it looks like a fault of the store, which passes; a refusal does not.
    """

    def __init__(self, message: str, *, keys: tuple[str, ...], may_pass: bool = False) -> None:
        super().__init__(message, key=keys[0])
        self.keys, self.may_pass = keys, may_pass


class BadRecord(StorageError):
    """A record in the archive does not parse, or is not what was written."""


class NotABlockKey(StorageError):
    """The key does not name a block."""


class StorageUnavailable(StorageError):
    """The bucket does not answer, throttles or refuses; trying again later may help."""


class TableUnavailable(StorageUnavailable):
    """The table of series cannot be read or written: its log is damaged, or the store does not do what it needs."""


class Throttled(StorageUnavailable):
    """The bucket answers some requests and not others, whatever they ask for; it is asked again later."""


class AccessRefused(StorageUnavailable):
    """The bucket does not let us: credentials, permissions, or it does not exist; a person must correct that.

    `reason` is what the store says, without what to do.
    """

    def __init__(self, message: str, *, key: str = "", reason: str = "") -> None:
        super().__init__(message, key=key)
        self.reason = reason or message


@dataclass(frozen=True, slots=True)
class Where:
    """A place inside an object, for messages. `offset` in errors is relative to the section's start.

    >>> str(Where("segments/1/anonymous/01/block.bin", "symbols", "checkout"))
    'segments/1/anonymous/01/block.bin, dataset checkout, section symbols'
    """

    object_key: str = "<memory>"
    section: str = "object"
    dataset: str = ""

    def __str__(self) -> str:
        dataset = f", dataset {self.dataset}" if self.dataset else ""
        return f"{self.object_key}{dataset}, section {self.section}"


class BlockError(PyroAssetsError):
    """One object is not what the format says.

    Args:
        what: what is wrong, in a few words ("CRC of the series section").
        where: object key, section and dataset.
        offset: bytes from the start of the section; -1 when no single place can be named.
        expected: what the format demands.
        actual: what is there.
        remedy: what a person can do; a default says that the source is set aside.
    """

    remedy = "the source is set aside and everything else goes on; upload it again or read it with `pyro-assets verify`"

    def __init__(
        self,
        what: str,
        where: Where,
        *,
        offset: int = -1,
        expected: object = None,
        actual: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what, self.where, self.offset = what, where, offset
        self.expected, self.actual = expected, actual
        if remedy is not None:
            self.remedy = remedy
        at = f" at byte {offset}" if offset >= 0 else ""
        difference = "" if expected is None and actual is None else f": expected {_cut(expected)}, found {_cut(actual)}"
        super().__init__(f"{_cut(what)} ({_cut(where)}{at}){difference}; {self.remedy}")


def _cut(value: object) -> str:
    """A value for a message, which is kept and shown: names in untrusted bytes may be megabytes long."""
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"


class Truncated(BlockError):
    """The bytes end before the structure does."""


class BadMagic(BlockError):
    """The magic number is another one."""


class UnsupportedVersion(BlockError):
    """A version this reader does not know."""

    remedy = "this version of pyro_assets cannot read it; look for a newer one"


class ChecksumMismatch(BlockError):
    """A CRC-32C differs from the bytes it covers."""


class BadLength(BlockError):
    """A length that its surroundings contradict."""


class BadCount(BlockError):
    """A number of items that cannot be."""


class BadIndex(BlockError):
    """A reference past the end of what it refers to."""


class BadEncoding(BlockError):
    """An integer stream or Parquet file that does not decode."""


class BadMetadata(BlockError):
    """The BlockMeta message contradicts itself or the object."""


class Unwritable(BlockError):
    """Columns that the format cannot express, such as a string over 65,535 bytes."""

    remedy = "nothing was written"


class RemovedByRetention(PyroAssetsError):
    """What was asked for is older than it was to be kept, and was removed."""


class Unequal(PyroAssetsError):
    """What was made of blocks does not hold what they hold, so it does not count; they are left as they are."""


class TooLarge(PyroAssetsError):
    """Objects whose symbols need more memory together than they may; nothing of them was decoded.

    Args:
        needed_bytes: an estimate, by the counts in the headers of their symbols.
        most_bytes: what they may need.
    """

    def __init__(self, needed_bytes: int, most_bytes: int) -> None:
        self.needed_bytes, self.most_bytes = needed_bytes, most_bytes
        needed, most = needed_bytes >> 20, most_bytes >> 20
        super().__init__(f"the symbols of its sources need {needed} MiB of memory together, more than {most} MiB")

    def __reduce__(self) -> tuple[type, tuple[int, int]]:
        return type(self), (self.needed_bytes, self.most_bytes)


class PprofError(PyroAssetsError):
    """An upload is not a valid pprof profile."""


class SeriesError(PyroAssetsError):
    """Rules or values from which no series can be made."""


class ConfigError(SeriesError):
    """A configuration file is refused.

    Args:
        file: the file's name as the user gave it.
        line: 1-based line, 0 when no single line is to blame.
        what: the field, as a path such as `recording_rules[2].matchers[0]`.
        why: what is wrong and what to write instead.
    """

    def __init__(self, file: str, line: int, what: str, why: str) -> None:
        self.file, self.line, self.what, self.why = file, line, what, why
        #: everything that is wrong with the file, this included, in order of lines
        self.problems: list[ConfigError] = [self]
        super().__init__(f"{file}:{line}: {what}: {why}" if line else f"{file}: {what}: {why}")

    @classmethod
    def of_all(cls, problems: "list[ConfigError]") -> "ConfigError":
        """One error that carries several and says them all, one a line."""
        first = problems[0]
        error = cls(first.file, first.line, first.what, first.why)
        error.problems = list(problems)
        error.args = ("\n".join(str(problem) for problem in problems),)
        return error


class SelectorError(SeriesError):
    """A label selector does not parse; `position` is 0-based in `selector`."""

    def __init__(self, selector: str, position: int, why: str) -> None:
        self.selector, self.position, self.why = selector, position, why
        super().__init__(f"selector {selector!r}, character {position + 1}: {why}")


class DamagedSeries(SeriesError):
    """A file of series that cannot be read, or is not the one that was written; `name` is its key."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}; derive its job again, which writes the file anew")
        self.name = name


class ValueOverflow(SeriesError):
    """A sum that somebody asked for does not fit int64; a series whose value does not fit is left out instead."""


class LedgerError(PyroAssetsError):
    """The ledger refuses, or cannot do, what was asked."""


class LedgerUnavailable(LedgerError):
    """The ledger's database cannot be reached or opened."""


class LedgerDamaged(LedgerError):
    """The file of the ledger is broken or no database: asking again does not help, rebuilding does."""


class SchemaMismatch(LedgerError):
    """The ledger was written by another version of the project."""


class RebuildNeeded(LedgerError):
    """The ledger lost what the archive remembers; planning would compact it all again."""


class LeaseLost(LedgerError):
    """Another worker owns the job now; nothing of this attempt was committed."""


class StaleRule(LedgerError):
    """A rule has another version than an edit was made from; `current` is the newest one, None without any."""

    def __init__(self, message: str, *, current: Any = None) -> None:
        super().__init__(message)
        self.current = current


class JobConflict(LedgerError):
    """A source already belongs to another job."""


class ExportError(PyroAssetsError):
    """Series do not get to a receiver or into a file; `receiver` is its name, "" for files.

    `tenant` is not "" where only one tenant's are concerned, and others' may be sent. No secret is ever part of the
    message.
    """

    def __init__(self, message: str, *, receiver: str = "", tenant: str = "") -> None:
        super().__init__(message)
        self.receiver = receiver
        self.tenant = tenant


class ReceiverMisconfigured(ExportError):
    """The receiver refuses whatever we send; trying again without changing something is of no use."""


class SecretMissing(ReceiverMisconfigured):
    """The environment variable or file that holds a secret is not there or cannot be used."""


class ReceiverUnavailable(ExportError):
    """No useful answer until the time for retries was over; the same samples may be sent again later."""


class SendingStopped(ReceiverUnavailable):
    """We were asked to stop before the receiver was asked; that says nothing of the receiver."""


class BadAnswer(ExportError):
    """The receiver answers a question with something that cannot be read."""


class QueryError(PyroAssetsError):
    """A question in another tool's protocol gets no answer; that tool shows the message to its user."""


class BadQuery(QueryError):
    """The question does not parse, or contradicts itself."""


class QueryTooLarge(QueryError):
    """The question needs more time, bytes or series than one may."""


class NotOffered(QueryError):
    """The protocol knows what was asked for, but it is not offered here."""


class NothingFound(QueryError):
    """The question names a thing that is not there."""


class DagsterError(PyroAssetsError):
    """Dagster's webserver refuses what was asked, with its reason."""


class DagsterUnavailable(DagsterError):
    """Dagster's webserver does not answer, is something else, or has not loaded our code; ask again later."""


class SettingsError(PyroAssetsError):
    """Settings that contradict each other or cannot be used; `names` are those that were refused by themselves."""

    def __init__(self, message: str, *, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


class ProgramError(PyroAssetsError):
    """Jobs fail because of the program or its installation, not because of what they hold; none was touched."""
