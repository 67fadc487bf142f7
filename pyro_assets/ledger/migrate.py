"""The schema's version, and how an older ledger is brought up to it.

Raise VERSION with every change of `schema`. A change may only add, for an older process may still be running: tables,
indexes, and columns that are nullable or have a server default.
"""

from typing import Final

from sqlalchemy import Connection, inspect, select
from sqlalchemy.schema import CreateColumn

from pyro_assets.errors import SchemaMismatch
from pyro_assets.ledger import schema

#: The version that this code reads and writes.
VERSION: Final = 11


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
    if found < VERSION:
        if connection.dialect.name == "postgresql":
            _bound_indexes()
        schema.metadata.create_all(connection)
        if found:
            _add_columns_and_indexes(connection)
        connection.execute(schema.schema_version.delete())
        connection.execute(schema.schema_version.insert().values(version=VERSION, applied_ms=now_ms))
    return found


def version_of(connection: Connection) -> int:
    """The schema's version, 0 for an empty database."""
    if not inspect(connection).has_table(schema.schema_version.name):
        return 0
    return connection.execute(select(schema.schema_version.c.version)).scalar() or 0


def _bound_indexes() -> None:
    """Gives Postgres the bounds that indexes have on SQLite; in the schema, its name alone would load its dialect."""
    for table in schema.metadata.sorted_tables:
        for index in table.indexes:
            if (rows := index.dialect_kwargs.get("sqlite_where")) is not None:
                index.dialect_kwargs["postgresql_where"] = rows


def _add_columns_and_indexes(connection: Connection) -> None:
    """Adds the columns and indexes that tables of an older version lack."""
    look = inspect(connection)
    for table in schema.metadata.sorted_tables:
        there = {column["name"] for column in look.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)
