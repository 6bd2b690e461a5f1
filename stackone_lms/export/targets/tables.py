"""The tables of a database: their names and columns, the views over them, and statements about their rows."""

# ruff: noqa: S608 (the names in the statements are those of models; values are parameters)

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from ...models.base import Model, RawResponse
from ..formats.base import NOT_CONTENT, Table
from ..lists import resources
from ..records.columns import ACCOUNT, Column
from ..records.keys import OF_USER

LISTS: Final = "stackone_exports"
"""The table of what is remembered about each list."""
CALLS_TABLE: Final = "_calls"
"""Added to the name of a table: the provider calls behind it."""
VIEWS: Final = {"completions": "completion_details", "user_completions": "user_completion_details"}
"""By table: the view that joins it to users and courses."""


class TableSpec(NamedTuple):
    """A table of the database."""

    name: str
    table: Table
    keys: tuple[str, ...]
    """What tells its rows apart; none for provider calls."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its columns, in their order."""
        return self.table.columns

    @property
    def names(self) -> str:
        """The names of its columns, quoted, with commas between them."""
        return ", ".join(map(quoted, (column.name for column in self.columns)))


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return f'"{name}"'


def table_spec(name: str, account: str = "") -> TableSpec:
    """Return a table, or that of the provider calls behind one, for the records of an account."""
    if name.endswith(CALLS_TABLE):
        return TableSpec(name, Table(RawResponse, account), ())
    table = Table(models_by_table()[name], account)
    return TableSpec(name, table, (ACCOUNT, *((OF_USER,) if table.of_users else ()), "id"))


@cache
def models_by_table() -> Mapping[str, type[Model]]:
    """Return what the records of each table are."""
    return {r.sql_name: r.row_model for r in resources().values()}


def create_view(name: str, select: str) -> str:
    """Return the statement that makes a view."""
    return f"CREATE VIEW {name} AS {select}"


def view_of(completions: str) -> str:
    """Return what selects the rows of a table of completions with those of their users and courses."""
    return (
        "SELECT c.*, u.name AS user_name, u.email AS user_email, u.external_reference AS user_external_reference,"
        " k.title AS course_title, k.external_reference AS course_external_reference, k.duration AS course_duration"
        f" FROM {completions} c"
        " LEFT JOIN users u ON u.account_id = c.account_id AND u.id = c.user_id"
        " LEFT JOIN courses k ON k.account_id = c.account_id AND k.id ="
        " coalesce(c.course_id, CASE WHEN c.learning_object_type_value = 'course' THEN c.learning_object_id END)"
    )


def same_record(spec: TableSpec) -> str:
    """Return what tells that a staged row, called s, is of the same record as a row of the table."""
    target = quoted(spec.name)
    return " AND ".join(f"s.{quoted(key)} = {target}.{quoted(key)}" for key in spec.keys) or "false"


def has_changed(spec: TableSpec, new: str, is_not: str, *, keep: bool) -> str:
    """Return what tells that a row, called `new`, has to replace that of the table."""
    target = quoted(spec.name)
    compared = [name for name, _ in spec.columns if name not in {*spec.keys, *NOT_CONTENT}]
    differs = " OR ".join(f"{target}.{quoted(name)} {is_not} {new}.{quoted(name)}" for name in compared)
    newer = ""
    if keep and "updated_at" in compared:
        # Changes come in any order; a whole list is what there is now.
        newer = (
            f" AND ({new}.updated_at IS NULL OR {target}.updated_at IS NULL OR {new}.updated_at >= {target}.updated_at)"
        )
    return f"({differs}){newer}"


def assignments(spec: TableSpec, new: str) -> str:
    """Return the assignments that take over all values of a row, called `new`."""
    return ", ".join(f"{quoted(name)} = {new}.{quoted(name)}" for name, _ in spec.columns if name not in spec.keys)
