"""The schema's version and the steps that bring an older ledger up to it.

Add a step for every change of `schema`, and raise VERSION. A step must work on SQLite and on Postgres and may only add:
an older process may still be running.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, inspect, select
from sqlalchemy.schema import CreateColumn

from pyro_assets.errors import SchemaMismatch
from pyro_assets.ledger import schema

#: The version that this code reads and writes.
VERSION: Final = 9

Step = Callable[[Connection], None]


def _create_all(connection: Connection) -> None:
    schema.metadata.create_all(connection)


def _add_exports(connection: Connection) -> None:
    # A new ledger has the column already: version 1 makes the tables as they are now.
    if "file_ms" not in {column["name"] for column in inspect(connection).get_columns("receipts")}:
        connection.exec_driver_sql("ALTER TABLE receipts ADD COLUMN file_ms BIGINT")


def _add_rules(connection: Connection) -> None:
    schema.rule_versions.create(connection, checkfirst=True)


def _add_active_series(connection: Connection) -> None:
    schema.active_series.create(connection, checkfirst=True)


def _add_what_is_missing(connection: Connection) -> None:
    """Tables, columns (these must be nullable or have a server default) and indexes of `schema` that are not there."""
    schema.metadata.create_all(connection)
    for table in schema.metadata.sorted_tables:
        there = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)


#: Version -> the step that leads to it from the version before.
STEPS: Final[dict[int, Step]] = {
    1: _create_all,
    2: _add_exports,
    3: _add_rules,
    4: _add_active_series,
    5: _add_what_is_missing,
    6: _add_what_is_missing,
    7: _add_what_is_missing,
    8: _add_what_is_missing,
    9: _add_what_is_missing,
}


def migrate(connection: Connection, now_ms: int) -> int:
    """Brings the schema up to VERSION, inside the caller's transaction.

    Returns:
        The version that was there before, 0 for an empty database.

    Raises:
        SchemaMismatch: the ledger was written by a newer version of this project.
    """
    found = version_of(connection)
    if found > VERSION:
        raise SchemaMismatch(
            f"the ledger has schema version {found}, this program knows {VERSION}: "
            "install the version of pyro-assets that wrote it, or a newer one"
        )
    for version in range(found + 1, VERSION + 1):
        STEPS[version](connection)
    if found < VERSION:
        connection.execute(schema.schema_version.delete())
        connection.execute(schema.schema_version.insert().values(version=VERSION, applied_ms=now_ms))
    return found


def version_of(connection: Connection) -> int:
    """The schema's version, 0 for an empty database."""
    if not inspect(connection).has_table(schema.schema_version.name):
        return 0
    return connection.execute(select(schema.schema_version.c.version)).scalar() or 0
