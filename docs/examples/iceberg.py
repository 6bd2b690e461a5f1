"""Users of all accounts in an Iceberg table: written once, then changes are merged by account and id."""

from pathlib import Path

from pyiceberg.catalog import load_catalog

from stackone_lms.arrow import scan

COLUMNS = ["account_id", "id", "name", "email", "active", "updated_at"]

folder = Path("lake").absolute()
folder.mkdir(exist_ok=True)
catalog = load_catalog("local", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())
catalog.create_namespace_if_not_exists("lms")

users = scan("users", all_accounts=True, columns=COLUMNS)
table = catalog.create_table_if_not_exists("lms.users", schema=users.schema)
if table.current_snapshot() is None:
    table.append(users.read_all())

# On the following days. An upsert compares row by row, so use it for changes, not for whole lists.
changes = scan("users", all_accounts=True, columns=COLUMNS, updated_after="2026-01-01")
merged = table.upsert(changes.read_all(), join_cols=["account_id", "id"])
print(table.scan().count(), "users,", merged.rows_updated, "updated,", merged.rows_inserted, "new")
