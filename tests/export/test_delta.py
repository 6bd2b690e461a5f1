"""Delta tables as a target: few files, few rows moved, memory in the commits, and others who write to them too."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError, InvalidArgumentError
from stackone_lms.export import ExportResult, export, forget, verify
from stackone_lms.export.state.manifest import ListEntry
from stackone_lms.export.targets import delta, delta_changes, delta_files, delta_library, delta_table
from stackone_lms.export.targets.choose import make_target
from stackone_lms.export.targets.delta_log import APP, KEY, Marks

from .datasets import delta_rows
from .test_month import Api

ON_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="there it is a separator")


class Lake:
    """A place of Delta tables, and an API that they come from."""

    def __init__(self, api: Api, client: AsyncClient, root: Path) -> None:
        self.api, self.client, self.root = api, client, root
        self.target = f"delta:{root}"

    def fill(self, account: str, count: int) -> None:
        """Give an account some users."""
        self.api.records[account] = {"users": {}, "completions": {}, "skills": {}}
        for _ in range(count):
            self.api.add(account, "users")

    async def export(self, *accounts: str, resources: str | list[str] = "users", **options: Any) -> ExportResult:
        ids = accounts or tuple(sorted(self.api.records))
        return await export(self.client, resources, self.target, accounts=ids, **options)

    def table(self, name: str = "users") -> DeltaTable:
        return DeltaTable(self.root / name)

    def names(self) -> dict[str, dict[str, str]]:
        """Return what is in the table of users, by account and id."""
        found: dict[str, dict[str, str]] = {}
        for row in delta_rows(self.root, "users"):
            assert row["id"] not in found.setdefault(row["account_id"], {}), "it is there twice"
            found[row["account_id"]][row["id"]] = row["name"]
        return found

    def check(self, *accounts: str) -> None:
        """Compare the table with the API."""
        ids = accounts or tuple(sorted(self.api.records))
        assert self.names() == {id: self.api.versions(id, "users") for id in ids}
        assert verify(self.target).problems == []


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api(20260202)
    with made.served() as made.url:
        yield made


@pytest.fixture
async def lake(api: Api, tmp_path: Path) -> AsyncIterator[Lake]:
    async with AsyncClient("key", base_url=api.url, rate_limit=None) as client:
        yield Lake(api, client, tmp_path / "lake")


async def test_many_small_lists_make_one_file(lake: Lake) -> None:
    """A commit a table, not one a list; and the next night's changes do not add files for ever."""
    for n in range(20):
        lake.fill(f"account-{n}", 3)
    result = await lake.export()
    assert (result.records, sum(one.new for one in result.lists)) == (60, 60)
    assert (lake.table().version(), len(lake.table().file_uris())) == (1, 1)
    for _ in range(2):
        lake.api.night += 1
        lake.api.change("account-7", "users")
        lake.api.add("account-8", "users")
        result = await lake.export(incremental=True)
        assert (sum(one.new for one in result.lists), sum(one.changed for one in result.lists)) == (1, 1)
        assert len(lake.table().file_uris()) == 1
    lake.check()


async def test_a_whole_run_without_changes_moves_no_row(lake: Lake) -> None:
    """The files stay as they are; rows keep the run that brought them."""
    lake.fill("a", 40)
    await lake.export()
    files, runs = lake.table().file_uris(), {row["_run"] for row in delta_rows(lake.root, "users")}
    result = await lake.export()
    assert (result.lists[0].new, result.lists[0].changed) == (0, 0)
    assert (lake.table().file_uris(), lake.table().version()) == (files, 2)
    lake.api.change("a", "users")
    lake.api.delete("a", "users")
    await lake.export()
    after = [row["_run"] for row in delta_rows(lake.root, "users")]
    assert (len(runs), len({*after}), sum(run in runs for run in after)) == (1, 2, 38)
    lake.check()


async def test_what_changes_cost(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file only the row groups with changed rows are decoded; the bytes of the others are copied."""
    monkeypatch.setattr(delta_files, "ROW_GROUP", 100)
    monkeypatch.setattr(delta_table, "SMALL_BYTES", 0)
    lake.fill("a", 1_999)
    lake.api.night += 1
    lake.api.add("a", "users")
    await lake.export(page_size=500)
    decoded: list[int] = []
    batches = delta_files.Source.batches

    def counted(self: Any, groups: Any, names: Any = None) -> Iterator[Any]:
        for batch in batches(self, groups, names):
            if names is None:
                decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(delta_files.Source, "batches", counted)
    lake.api.night += 1
    for record in [*lake.api.records["a"]["users"].values()][10:2_000:500]:
        record |= {"name": "changed", "updated_at": lake.api.now()}
    result = await lake.export(incremental=True)
    assert (result.lists[0].fetched, result.lists[0].changed) == (5, 4)
    # Each of at most 4 row groups is read, kept, and written; the batch that ends a group may make it larger than 100.
    assert sum(decoded) <= 2 * 4 * 500
    monkeypatch.undo()
    lake.check()


async def test_changes_of_some_accounts_leave_the_files_of_others_alone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file knows which accounts are in it."""
    monkeypatch.setattr(delta_table, "SMALL_BYTES", 0)
    for account in "abc":
        lake.api.night = 0
        lake.fill(account, 30)
        lake.api.night = 1
        lake.api.add(account, "users")
        await lake.export(account)
    before = {*lake.table().file_uris()}
    lake.api.night += 1
    lake.api.change("b", "users")
    opened: list[str] = []
    source = delta_table.LakeTable.source

    def noted(self: Any, file: Any) -> Any:
        opened.append(file.path)
        return source(self, file)

    monkeypatch.setattr(delta_table.LakeTable, "source", noted)
    await lake.export("a", "b", "c", incremental=True)
    assert len(opened) <= 3
    assert len(before & {*lake.table().file_uris()}) == 2
    monkeypatch.undo()
    lake.check()


async def test_commits_tell_the_run_and_how_far_each_list_is(lake: Lake) -> None:
    """In their own information, beside the rows; the manifest says the same."""
    lake.fill("a", 3)
    lake.fill("b", 3)
    await lake.export()
    (commit, _) = lake.table().history()
    told = commit[KEY]
    assert {row["_run"] for row in delta_rows(lake.root, "users")} == {told["run"]}
    assert {(one["account_id"], one["records"], one["high_water"][:10]) for one in told["lists"]} == {
        ("a", 3, "2026-01-01"), ("b", 3, "2026-01-01"),
    }  # fmt: skip
    assert {one.account_id: one.high_water for one in make_target(lake.target, "parquet").entries() or ()} == {
        one["account_id"]: one["high_water"] for one in told["lists"]
    }


async def test_a_table_that_is_set_back_is_gone_on_with_from_there(lake: Lake) -> None:
    """RESTORE brings old rows back; what was known then counts, and what changed since is fetched."""
    lake.fill("a", 20)
    await lake.export()
    for _ in range(2):
        lake.api.night += 1
        lake.api.change("a", "users")
        await lake.export(incremental=True)
    lake.table().restore(1)
    assert lake.names()["a"] != lake.api.versions("a", "users")
    lake.api.night += 1
    result = await lake.export(incremental=True)
    assert 1 <= result.lists[0].fetched <= 20
    assert result.lists[0].whole_because is None
    lake.check()


async def test_a_table_that_was_deleted_is_fetched_whole(lake: Lake) -> None:
    """So is one of which a file is gone, or rows; the others are not."""
    import shutil

    lake.fill("a", 20)
    lake.fill("b", 10)
    await lake.export()
    shutil.rmtree(lake.root / "users")
    assert (await lake.export(incremental=True)).records == 30
    lake.check()
    Path(lake.table().file_uris()[0].removeprefix("file://")).unlink()
    result = await lake.export(incremental=True)
    assert {one.whole_because for one in result.lists} == {
        "the table has 0 records of it, and not 20", "the table has 0 records of it, and not 10",
    }  # fmt: skip
    lake.check()
    lake.table().delete("account_id = 'b' and id < 'u25'")
    assert f"users, account b: {lake.table().count() - 20} records, 10 expected" in verify(lake.target).problems
    result = await lake.export(incremental=True)
    assert [one.whole_because is None for one in result.lists] == [True, False]
    lake.check()


async def test_who_compacts_a_table_meanwhile_takes_nothing_from_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is compared anew, with the files that there are then: no row comes twice, and none is lost."""
    monkeypatch.setattr(delta_table, "SMALL_BYTES", 0)
    for account in "ab":
        lake.fill(account, 30)
        await lake.export(account)
    hold, compacted = delta_changes.hold, list[Any]()

    def others_come_between(*arguments: Any) -> Any:
        held = hold(*arguments)
        if not compacted:
            compacted.append(lake.table().optimize.compact())
        return held

    monkeypatch.setattr(delta_table, "hold", others_come_between)
    lake.api.night += 1
    lake.api.change("a", "users")
    lake.api.change("b", "users")
    result = await lake.export(incremental=True)
    assert compacted[0]["numFilesRemoved"] == 2
    assert sum(one.changed for one in result.lists) == 2
    lake.check()


async def test_another_export_to_the_same_table_is_refused(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another machine, where no lock says so: its commit is seen, and nothing is written over it."""
    lake.fill("a", 10)
    await lake.export()
    hold = delta_changes.hold

    def others_come_between(*arguments: Any) -> Any:
        held = hold(*arguments)
        table = lake.table()
        transaction = Transaction(APP, (table.transaction_version(APP) or 0) + 1)
        properties = CommitProperties(app_transactions=[transaction])
        table.create_write_transaction([], "append", table.schema(), commit_properties=properties)
        return held

    monkeypatch.setattr(delta_table, "hold", others_come_between)
    lake.api.night += 1
    lake.api.change("a", "users")
    before = lake.names()
    with pytest.raises(ExportError, match="another export is writing to"):
        await lake.export(incremental=True)
    assert lake.names() == before
    files = {path.name for path in (lake.root / "users").glob("*.parquet")}
    assert len(files) == 1, "what was not committed is taken away"
    monkeypatch.undo()
    await lake.export(incremental=True)
    lake.check()


async def test_what_a_crash_leaves_without_a_commit_is_taken_away(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is in the folder of the table, and no commit names it."""
    lake.fill("a", 10)
    await lake.export()

    class CrashError(BaseException):
        pass

    def crash(*_: Any, **__: Any) -> None:
        raise CrashError

    lake.api.change("a", "users")
    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", crash)
        with pytest.raises(CrashError):
            await lake.export()
    folder = lake.root / "users"
    assert len([*folder.glob("*.parquet")]) == 2
    asked = sum(lake.api.asked.values())
    result = await lake.export()
    assert sum(lake.api.asked.values()) == asked, "what was fetched is written, and not fetched again"
    assert result.lists[0].changed == 1
    lake.check()
    active = {uri.rpartition("/")[2] for uri in lake.table().file_uris()}
    past = {"part"} and {path.name for path in folder.glob("*.parquet")} - active
    assert len(past) == 1, "the file of the version before, which time travel reads"


@pytest.mark.parametrize("kind", ["rows", "partitioned", "folder", "types", "features", "append-only"])
async def test_a_table_of_somebody_else_is_told_before_the_first_request(kind: str, lake: Lake) -> None:
    """It is left as it is, and nothing is made beside it."""
    lake.fill("a", 3)
    path = lake.root / "users"
    path.parent.mkdir()
    if kind == "rows":
        write_deltalake(path, pa.table({"account_id": ["a"], "id": ["1"]}))
        said = "is a Delta table that is not of an export"
    elif kind == "folder":
        path.mkdir()
        (path / "notes.parquet").write_bytes(b"mine")
        said = "holds something that is no Delta table"
    else:
        await lake.export("a")
        table = lake.table()
        ours = CommitProperties(app_transactions=[Transaction(APP, 9)])
        columns: dict[str, Any] = {"account_id": ["a"], "id": ["1"]}
        match kind:
            case "partitioned":
                write_deltalake(path, pa.table(columns), mode="overwrite", schema_mode="overwrite",
                                partition_by="account_id", commit_properties=ours)  # fmt: skip
                said = "was partitioned, or made append-only"
            case "append-only":
                table.alter.set_table_properties({"delta.appendOnly": "true"})
                said = "was partitioned, or made append-only"
            case "types":
                columns |= {"active": ["yes"]}
                write_deltalake(path, pa.table(columns), mode="overwrite", schema_mode="overwrite",
                                commit_properties=ours)  # fmt: skip
                said = "has columns of other types than exports: active"
            case _:
                features = import_module("deltalake").TableFeatures
                table.alter.add_feature(features.DeletionVectors, allow_protocol_versions_increase=True)
                said = "has features that exports do not keep: deletionVectors"
    before = sorted(one.relative_to(path).as_posix() for one in path.rglob("*"))
    asked = sum(lake.api.asked.values())
    with pytest.raises(ExportError, match=said):
        await lake.export("a", resources=["completions", "users"])
    assert sum(lake.api.asked.values()) == asked
    assert sorted(one.relative_to(path).as_posix() for one in path.rglob("*")) == before
    assert not (lake.root / "completions").exists()


async def test_columns_of_the_user_stay(lake: Lake) -> None:
    """A column that somebody added keeps its values, also in rows that are written anew beside changed ones."""
    lake.fill("a", 10)
    await lake.export()
    table = lake.table()
    table.alter.add_columns(
        [import_module("deltalake").Field("note", import_module("deltalake").schema.PrimitiveType("string"))]
    )
    table.update({"note": "'kept'"})
    lake.api.night += 1
    lake.api.change("a", "users")
    await lake.export(incremental=True)
    notes = sorted(str(row["note"]) for row in delta_rows(lake.root, "users"))
    assert notes == ["None", *["kept"] * 9]
    lake.check()


async def test_after_a_forget_there_is_no_past(lake: Lake) -> None:
    """Older versions are gone, the present one stays whole, and the next run goes on from it."""
    lake.fill("a", 10)
    lake.fill("gone", 10)
    await lake.export()
    lake.api.night += 1
    lake.api.change("a", "users")
    await lake.export(incremental=True)
    forget(lake.target, "gone")
    del lake.api.records["gone"]
    lake.check("a")
    version = lake.table().version()
    assert [path.name for path in sorted((lake.root / "users" / "_delta_log").iterdir())] == [
        f"{version:020}.checkpoint.parquet", f"{version:020}.json", "_last_checkpoint",
    ]  # fmt: skip
    with pytest.raises(Exception, match=r"log segment|not found|version"):
        DeltaTable(lake.root / "users", version=1).to_pyarrow_table()
    lake.api.night += 1
    lake.api.change("a", "users")
    result = await lake.export("a", incremental=True)
    assert result.lists[0].fetched < 10
    assert result.lists[0].whole_because is None
    lake.check("a")


async def test_others_read_the_tables(lake: Lake) -> None:
    """Polars, DuckDB, pandas and pyarrow, by what deltalake offers them."""
    lake.fill("a", 10)
    lake.fill("b", 5)
    await lake.export()
    polars, duckdb = import_module("polars"), import_module("duckdb")
    expected = {("a", 10), ("b", 5)}
    path = str(lake.root / "users")
    frame = polars.scan_delta(path).group_by("account_id").len().collect()
    assert {*frame.iter_rows()} == expected
    table: Any = lake.table()
    users = table.to_pyarrow_dataset()
    counted = duckdb.sql("SELECT account_id, count(*) FROM users GROUP BY 1").fetchall()
    assert (users.count_rows(), {*counted}) == (15, expected)
    assert lake.table().to_pandas().groupby("account_id").size().to_dict() == dict(expected)


@pytest.mark.parametrize(
    ("place", "said"),
    [("", "needs a folder or a URL"), ("ftp://x/y", "is no store of Delta tables"), ("s3://", "is no store"),
     ("s3://key:secret@bucket/x", "must not hold credentials"),
     ("s3a://bucket/x?key=secret", "must not hold credentials"), ("abfss://a@b/x#secret", "must not hold credentials"),
     ("s3://bucket/a%20b", "'%20' in its path: the tables would be looked for elsewhere; write ' ', as"),
     ("s3://bucket/a%23b", "'%23' in its path: the tables would be looked for elsewhere$")],
)  # fmt: skip
def test_places_that_are_none(place: str, said: str) -> None:
    """They are refused before anything else, and a secret in them is not repeated."""
    with pytest.raises(InvalidArgumentError, match=said) as raised:
        make_target(f"delta:{place}", "parquet")
    assert "secret" not in str(raised.value)


def entry(account: str, records: int) -> ListEntry:
    return ListEntry(resource="users", account_id=account, records=records)


class Log:
    """The history of a table, last commit first."""

    def __init__(self) -> None:
        self.commits: list[dict[str, Any]] = []

    def add(self, about: dict[str, Any]) -> None:
        self.commits.insert(0, {"timestamp": 1, "operation": "WRITE", "version": len(self.commits), **about})

    def history(self, limit: int) -> list[dict[str, Any]]:
        return self.commits[:limit]


def test_the_log_is_read_back_to_a_commit_that_tells_of_all_lists() -> None:
    """However many there were since; the size of what commits tell grows with the lists that they write."""
    log, marks, told = Log(), Marks(), 0
    for n in range(400):
        about = marks.commit("r", [entry(f"a{n % 90}", n)], ["a3"] if n == 330 else [], all=False)
        told += len(about[KEY]["lists"])
        log.add(about)
        log.add({})  # of somebody else
        read = Marks.read(log)
        assert read.entries == marks.entries, n
    assert told < 4 * 400
    assert "a3" in marks.entries, "it has come again"


def test_what_a_log_has_forgotten_is_not_known() -> None:
    """Then those lists are fetched whole; what somebody else calls by our name is passed over."""
    log, marks = Log(), Marks()
    log.add(marks.commit("r", [entry("a", 1)], [], all=False))
    log.add(marks.commit("r", [entry("b", 2)], [], all=False))
    log.add({KEY: "mine"})
    log.add({KEY: {"lists": [7]}})
    assert Marks.read(log).entries == marks.entries
    del log.commits[-1]
    assert {*Marks.read(log).entries} == {"b"}
    log.add({"operation": "RESTORE", "operationParameters": {"timestamp": "2026-01-01"}})
    assert Marks.read(log).entries == {}


async def test_what_is_kept_is_written_when_it_is_enough(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is fetched and not written yet takes bounded room, however many accounts there are."""
    monkeypatch.setattr(delta, "KEPT_BYTES", 2_000)
    for n in range(12):
        lake.fill(f"account-{n:02}", 10)
    result = await lake.export(max_concurrent_accounts=1)
    assert result.ok
    assert 3 <= lake.table().version() <= 12
    assert not [*(lake.root / ".export" / "lists").iterdir()]
    lake.check()


async def test_the_change_data_feed_tells_what_changed_and_nothing_else(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that only go from one file into another are no changes; a change is what was, and what is."""
    lake.fill("a", 20)
    lake.fill("b", 20)
    await lake.export(change_feed=True)
    lake.api.night += 1
    (first, *_) = lake.api.records["a"]["users"]
    lake.api.records["a"]["users"][first] |= {"name": "changed", "updated_at": lake.api.now()}
    lake.api.add("b", "users")
    await lake.export(incremental=True)  # it stays on
    version = lake.table().version()
    (gone, *_) = lake.api.records["b"]["users"]
    del lake.api.records["b"]["users"][gone]
    await lake.export(optimize=True)
    lake.check()
    assert len(lake.table().file_uris()) == 1

    def fed(start: int, end: int | None = None) -> list[tuple[str, str, str]]:
        rows = pa.table(lake.table().load_cdf(starting_version=start, ending_version=end)).to_pylist()
        return sorted((row["_change_type"], row["account_id"], row["id"]) for row in rows)

    assert len(fed(0, 1)) == 40
    (added,) = [id for id in lake.api.records["b"]["users"] if id not in {row[2] for row in fed(0, 1)}]
    assert fed(2, version) == [("delete", "a", first), ("insert", "a", first), ("insert", "b", added)]
    assert fed(version + 1) == [("delete", "b", gone)]


async def test_small_files_are_put_together(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of many nights, of every table; no row changes, and the next run goes on as before."""
    with monkeypatch.context() as patch:
        patch.setattr(delta_table, "SMALL_BYTES", 0)
        for account in "abcd":
            lake.fill(account, 5)
            await lake.export(account)
    assert len(lake.table().file_uris()) == 4
    runs = {row["id"]: row["_run"] for row in delta_rows(lake.root, "users")}
    assert (await lake.export("a", incremental=True, optimize=True)).ok
    assert len(lake.table().file_uris()) == 1
    assert {row["id"]: row["_run"] for row in delta_rows(lake.root, "users")} == runs
    lake.check()
    folder = lake.root / "users"
    assert len([*folder.glob("*.parquet")]) == 5, "older versions can be read for a week"
    lake.table().alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 seconds"})
    lake.api.night += 1
    lake.api.change("b", "users")
    assert (await lake.export(incremental=True, optimize=True)).ok
    assert [path.name for path in folder.glob("*.parquet")] == [lake.table().file_uris()[0].rpartition("/")[2]]
    lake.check()


@pytest.mark.parametrize("option", ["change_feed", "optimize"])
async def test_options_of_delta_tables_are_for_those(option: str, lake: Lake, tmp_path: Path) -> None:
    """Elsewhere they are refused, before anything else."""
    options: Any = {option: True}
    with pytest.raises(InvalidArgumentError, match=f"{option} is for Delta tables"):
        await export(lake.client, "users", tmp_path / "files", accounts=["a"], **options)
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("name", ["a%20b", "a#b", "a?b", "a\tb", pytest.param("a\\b", marks=ON_POSIX)])
async def test_a_folder_that_deltalake_would_read_elsewhere_is_refused(api: Api, lake: Lake, name: str) -> None:
    """It would read the log in `a b`, which may be the lake of somebody else, and write where it was told to."""
    lake.fill("one", 3)
    lake.target = f"delta:{lake.root / name / 'lake'}"
    with pytest.raises(InvalidArgumentError, match="the tables would be looked for elsewhere"):
        await lake.export()
    assert not lake.root.exists()
    lake.root = lake.root / "a% 2b [ü]"
    lake.target = f"delta:{lake.root}"
    assert (await lake.export()).ok
    assert (await lake.export(incremental=True)).ok
    lake.check()


async def test_lists_that_failed_are_known_in_the_work_folder_only(lake: Lake) -> None:
    lake.fill("one", 3)
    await lake.export()
    (lake.root / "_manifest.json").unlink()
    shutil.rmtree(lake.root / ".export")
    with pytest.raises(ExportError, match="which lists failed there is noted in the work folder"):
        await lake.export(retry_failed=True)


def test_what_a_store_answers_is_told_without_its_colours() -> None:
    said = f"Generic S3 error \x1b[31m\u21b3\x1b[0m GET {'x' * 300}: <Error><Code>NoSuchBucket</Code></Error>"
    with pytest.raises(ExportError) as caught, delta_library.speaking("looking"):
        raise OSError(said)
    assert "the store answered NoSuchBucket" in caught.value.message
    assert "x1b" not in caught.value.message


async def test_verify_finds_a_byte_that_is_another_one(lake: Lake) -> None:
    """Also where it would be read as another value: pages have checksums, those that were copied too."""
    for n in range(2):
        lake.fill(f"account-{n}", 50)
        await lake.export()
    (path,) = (lake.root / "users").glob(Path(lake.table().file_uris()[0]).name)
    with pq.ParquetFile(path) as file:
        group: Any = file.metadata.row_group(0)
        name = next(one for place in range(group.num_columns) if (one := group.column(place)).path_in_schema == "name")
    body = bytearray(path.read_bytes())
    body[(name.dictionary_page_offset + name.data_page_offset) // 2] ^= 1
    path.write_bytes(body)
    (problem,) = [text for text in verify(lake.target).problems if "expected" not in text]
    assert path.name in problem
    assert "checksum" in problem.lower()


async def test_a_file_that_cannot_be_read_is_named_and_may_be_deleted(lake: Lake) -> None:
    """The export says which; without it, what was in it is fetched whole."""
    lake.fill("account-0", 50)
    await lake.export()
    (path,) = (lake.root / "users").glob(Path(lake.table().file_uris()[0]).name)
    body = path.read_bytes()
    with pq.ParquetFile(path) as file:
        first: Any = file.metadata.row_group(0).column(0)
        begin = first.dictionary_page_offset or first.data_page_offset
    path.write_bytes(body[:begin] + b"\xff" * 400 + body[begin + 400 :])
    for incremental in (False, True):
        with pytest.raises(ExportError, match=f"{path.name} cannot be read.*delete it"):
            await lake.export(incremental=incremental)
    path.unlink()
    await lake.export(incremental=True)
    assert verify(lake.target).ok
    assert lake.table().to_pyarrow_table().num_rows == 50
