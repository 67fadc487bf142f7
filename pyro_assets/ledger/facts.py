"""Single values that outlive a process: reading one, and putting another in its place.

What a fact means belongs to the part of the ledger that names it. Add what several of them do with facts here.
"""

from sqlalchemy import Connection, select

from pyro_assets.ledger.schema import facts


def fact(connection: Connection, name: str) -> str | None:
    """The value of a fact; None where there is none."""
    return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()


def put_fact(connection: Connection, name: str, value: str | None, now_ms: int) -> None:
    """Puts a value in the place of the one before; None leaves none."""
    connection.execute(facts.delete().where(facts.c.name == name))
    if value is not None:
        connection.execute(facts.insert().values(name=name, value=value, updated_ms=now_ms))
