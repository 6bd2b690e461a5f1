"""Tables and views are made, grow by columns, and are told from those of others."""

# ruff: noqa: S608 (the names in the statements are those of models; values are parameters)

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ExportError
from ..lists import ListResource, resources
from ..records.columns import ACCOUNT
from .database_file import DatabaseFile, Execute
from .tables import CALLS_TABLE, LISTS, VIEWS, TableSpec, create_view, models_by_table, quoted, table_spec, view_of


def refuse_foreign(db: DatabaseFile, execute: Execute, resources: Sequence[ListResource]) -> None:
    """Raise ExportError if a table or view of somebody else has a name that is needed."""
    wanted = {resource.sql_name for resource in resources}
    if wanted & {*VIEWS, "users", "courses"}:
        wanted |= {"users", "courses", "completions"}
    tables, views = db.tables(execute), db.views(execute)
    known = {"resource", "account_id", "run"}  # of every version
    if LISTS in views or (LISTS in tables and not known <= set(db.column_names(execute, LISTS))):
        raise ExportError(f"the database has a table {LISTS!r} that is not of an export: take another file")
    for name in sorted(wanted | {name + CALLS_TABLE for name in wanted}):
        columns = {row[1]: row for row in execute(f"PRAGMA table_info('{name}')")} if name in tables else {}
        # What tells rows apart is a primary key, or at least never null: `notnull` is the third, `pk` the fifth.
        keys = {key for key, row in columns.items() if row[5 if db.has_primary_keys else 3]}
        ours = ACCOUNT in columns if name.endswith(CALLS_TABLE) else {ACCOUNT, "id"} <= keys
        if name in views or (columns and not ours):
            raise ExportError(f"the database has a table {name!r} that is not of an export: take another file")
    for name in sorted({*VIEWS.values()} & tables):
        raise ExportError(f"the database has a table {name!r}, and exports a view of that name: take another file")
    for completions, name in VIEWS.items():
        if name in views and not db.is_view(execute, name, view_of(completions)):
            raise ExportError(
                f"the database has a view {name!r}, and exports one of that name: give yours another name, or take "
                "another file"
            )


def prepare_lists(db: DatabaseFile, execute: Execute) -> None:
    """Make the table of what is remembered about each list, or bring that of an older version up to date."""
    execute(
        f"CREATE TABLE IF NOT EXISTS {LISTS} (resource TEXT NOT NULL, account_id TEXT NOT NULL,"
        " run TEXT NOT NULL, entry TEXT, PRIMARY KEY (resource, account_id))"
    )
    if "entry" not in db.column_names(execute, LISTS):
        execute(f"ALTER TABLE {LISTS} ADD COLUMN entry TEXT")
        db.upgrade(execute)


def prepare_tables(db: DatabaseFile, execute: Execute, spec: TableSpec) -> None:
    """Make a table, and the views that it is needed for; views know the columns only that were there before them."""
    prepare_lists(db, execute)
    for view in VIEWS.values():
        execute(f"DROP VIEW IF EXISTS {view}")
    make_table(db, execute, spec)
    present = {spec.name, *db.tables(execute)}
    if present & {*VIEWS, "users", "courses"}:
        for name in ("users", "courses", "completions"):
            make_table(db, execute, table_spec(name))
        for name, view in VIEWS.items():
            if name == "completions" or name in present:
                execute(create_view(view, view_of(name)))


def make_table(db: DatabaseFile, execute: Execute, spec: TableSpec) -> None:
    """Make a table, or add the columns that it lacks."""
    described = [
        f"{quoted(name)} {db.types[kind]}{' NOT NULL' if name in spec.keys else ''}" for name, kind in spec.columns
    ]
    key = [f"PRIMARY KEY ({', '.join(map(quoted, spec.keys))})"] if spec.keys and db.has_primary_keys else []
    if spec.name not in db.tables(execute):
        execute(f"CREATE TABLE {quoted(spec.name)} ({', '.join([*described, *key])})")
        # What is remembered is of a table that was dropped.
        names = [name for name, one in resources().items() if one.sql_name == spec.name.removesuffix(CALLS_TABLE)]
        execute(f"DELETE FROM {LISTS} WHERE resource = ?", *names)
    present = db.column_names(execute, spec.name)
    for (name, _), text in zip(spec.columns, described, strict=True):
        if name not in present:
            execute(f"ALTER TABLE {quoted(spec.name)} ADD COLUMN {text}")


def own_tables(db: DatabaseFile, execute: Execute) -> set[str]:
    """Return the tables with rows of accounts."""
    names = {LISTS, *(name + calls for name in models_by_table() for calls in ("", CALLS_TABLE))}
    return {name for name in names & db.tables(execute) if ACCOUNT in db.column_names(execute, name)}
