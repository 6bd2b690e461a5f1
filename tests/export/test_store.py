"""Exports into an object store: one writer, the manifest last, any machine goes on, and what is wrong is told first."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stackone_lms import AsyncClient, RetryPolicy
from stackone_lms.errors import ExportError, InvalidArgumentError
from stackone_lms.export import ExportProgress, ExportResult, export, forget, verify
from stackone_lms.export.report import write_report
from stackone_lms.export.stores import objects
from stackone_lms.export.stores.address import Address
from stackone_lms.export.stores.lock import LOCK
from stackone_lms.sandbox import Sandbox

from ..cli.program import Run, runner, settings
from .datasets import lines
from .s3 import BUCKET, KEY, S3, SECRET, running

RESOURCES = ["completions", "users"]


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with running() as made:
        yield made


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, with nothing in the bucket and no fault; nothing in the environment says how to reach another."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    client = server.client
    for name in server.objects():
        client.delete_object(Bucket=BUCKET, Key=name)
    server.fault = lambda method, key: None
    server.requests.clear()
    yield server
    server.fault = lambda method, key: None


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(accounts=2, users=6, courses=3, contents=2, assignments=0, completions=40) as made:
        yield made


class Exports:
    """Exports of the sandbox into the store, from as many machines as there are work folders."""

    def __init__(self, sandbox: Sandbox, s3: S3, folder: Path) -> None:
        self.sandbox, self.s3, self.folder = sandbox, s3, folder
        self.url = f"s3://{BUCKET}/lms/all"

    async def __call__(self, machine: str = "here", **options: Any) -> ExportResult:
        ours: dict[str, Any] = {
            "accounts": self.sandbox.account_ids,
            "work": self.folder / machine,
            "store_options": self.s3.options,
        }
        given: dict[str, Any] = {
            name: value for name, value in (ours | options).items() if (name, value) != ("accounts", None)
        }
        resources = given.pop("resources", RESOURCES)
        async with AsyncClient(
            self.sandbox.api_key, base_url=self.sandbox.url, rate_limit=None, retry=RetryPolicy(attempts=1)
        ) as client:
            return await export(client, resources, self.url, **given)

    def objects(self) -> dict[str, bytes]:
        return self.s3.objects("lms/all")

    def names(self) -> set[str]:
        return set(self.objects())

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.objects()["_manifest.json"])
        return found

    def left(self, work: str = "here") -> set[str]:
        """Return what is in a work folder, but for what says whose it is."""
        root = self.folder / work
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {
            ".export/lock",
            ".export/store.json",
        }


@pytest.fixture
def exports(sandbox: Sandbox, s3: S3, tmp_path: Path) -> Exports:
    return Exports(sandbox, s3, tmp_path)


@pytest.mark.parametrize("format", ["parquet", "jsonl", "csv"])
async def test_a_store_holds_what_a_folder_would(exports: Exports, format: str, tmp_path: Path) -> None:
    """File by file the same names and records, a manifest that names them all, no lock, and nothing kept here."""
    await exports(format=format)
    found = exports.objects()
    assert "_manifest.json" in found
    assert LOCK not in found
    files = {file["path"]: file for entry in exports.manifest()["lists"] for file in entry["files"]}
    assert set(found) == {"_manifest.json", *files}
    assert {name: len(found[name]) for name in files} == {name: file["bytes"] for name, file in files.items()}
    assert exports.left() == set()
    if format == "jsonl":
        for name, body in found.items():
            (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "copy" / name).write_bytes(body)
        assert sum(map(len, lines(tmp_path / "copy").values())) == 2 * 46
    checked = verify(exports.url, store_options=exports.s3.options)
    assert (checked.ok, checked.files, checked.records) == (True, 4, 2 * 46), checked.problems


async def test_the_manifest_is_put_after_all_files_and_the_lock_before_the_first(exports: Exports) -> None:
    await exports()
    order = [(method, key.removeprefix("lms/all/")) for method, key in exports.s3.requests]
    puts = [key for method, key in order if method == "PUT"]
    assert puts[0] == LOCK
    assert puts[-1] == "_manifest.json"
    assert sum(key.startswith("resource=") for key in puts) == 4
    assert order.index(("GET", "?list")) < order.index(("PUT", LOCK))
    assert exports.s3.counted["list"] == 2
    assert exports.s3.counted["PUT"] <= 4 + 3
    assert exports.s3.counted["GET"] <= 4 + 1


async def test_engines_read_it_where_it_is(exports: Exports) -> None:
    await exports()
    found = pl.scan_parquet(
        f"{exports.url}/resource=completions/**/*.parquet",
        storage_options={
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "aws_region": "us-east-1",
            "aws_endpoint_url": exports.s3.url,
            "aws_allow_http": "true",
        },
    ).collect()
    assert len(found) == 80
    assert set(found["account_id"]) == set(exports.sandbox.account_ids)


async def test_an_incremental_run_needs_no_work_folder_of_the_one_before(exports: Exports, tmp_path: Path) -> None:
    """The store knows all: another machine, whose folder is empty, asks for what changed, and merges it in."""
    await exports(format="jsonl")
    before = exports.objects()
    account = exports.sandbox.account_ids[0]
    async with AsyncClient(exports.sandbox.api_key, account, base_url=exports.sandbox.url) as client:
        content = exports.sandbox.record("content", exports.sandbox.ids("content", account)[0], account)
        await client.users.completions.create(
            exports.sandbox.ids("users", account)[0], learning_object_external_reference=content["external_reference"]
        )
    result = await exports("elsewhere", format="jsonl", incremental=True)
    assert result.ok
    assert sum(one.fetched for one in result.lists) < 20
    assert sum(one.new for one in result.lists) == 1
    after = exports.objects()
    assert set(after) == set(before)
    (changed,) = [name for name in after if name.startswith("resource=completions") and after[name] != before[name]]
    assert len(after[changed].splitlines()) == 41
    assert exports.left("elsewhere") == set()
    assert verify(exports.url, store_options=exports.s3.options).ok


async def test_a_second_writer_is_refused_and_told_by_whom(exports: Exports) -> None:
    """An export that stops in the middle keeps the target; its own work folder goes on, another one needs to say so."""
    exports.s3.fault = lambda method, key: "403" if "resource=users" in key and method == "PUT" else None
    with pytest.raises(ExportError, match="credentials are not accepted"):
        await exports()
    exports.s3.fault = lambda method, key: None
    assert LOCK in exports.names()
    asked = exports.sandbox.request_count
    with pytest.raises(ExportError, match=r"another export is writing to s3://lake/lms/all, begun 20.*--break-lock"):
        await exports("elsewhere")
    assert exports.sandbox.request_count == asked
    assert exports.left("elsewhere") == set()
    assert (await exports()).ok
    assert LOCK not in exports.names()
    assert (await exports("elsewhere")).ok


@pytest.mark.thorough
async def test_a_broken_lock_is_that_of_whoever_broke_it(exports: Exports) -> None:
    """The other one finishes, leaving nothing of what was broken off; the first then begins anew by what is there."""
    exports.s3.fault = lambda method, key: "403" if "resource=users" in key and method == "PUT" else None
    with pytest.raises(ExportError):
        await exports(raw=True)
    exports.s3.fault = lambda method, key: None
    strays = {name for name in exports.names() if ".calls" in name}
    assert strays
    first = exports.sandbox.account_ids[:1]
    assert (await exports("elsewhere", break_lock=True, accounts=first)).ok
    files = {file["path"] for entry in exports.manifest()["lists"] for file in entry["files"]}
    assert exports.names() == {"_manifest.json", *files}
    assert {entry["account_id"] for entry in exports.manifest()["lists"]} == set(first)
    assert (await exports()).ok
    assert exports.left() == set()
    assert len(exports.manifest()["lists"]) == 4
    assert verify(exports.url, store_options=exports.s3.options).ok


async def test_an_export_whose_lock_is_broken_stops(exports: Exports) -> None:
    """It writes nothing more, not even the manifest, from the moment that another one has taken its place."""
    client = exports.s3.client

    def take(method: str, key: str) -> None:
        if method == "PUT" and "resource=completions" in key:
            exports.s3.fault = lambda method, key: None
            client.put_object(Bucket=BUCKET, Key=f"lms/all/{LOCK}", Body=b'{"id":"other","since":"now","host":"there"}')

    exports.s3.fault = take
    with pytest.raises(ExportError, match="was broken, by an export begun now on there"):
        await exports(max_concurrent_accounts=1)
    assert "_manifest.json" not in exports.names()
    assert exports.names() >= {LOCK}


async def test_an_export_whose_lock_is_broken_stops_though_no_list_has_changed(exports: Exports) -> None:
    await exports(format="jsonl")
    before = exports.objects()
    client = exports.s3.client

    def take(method: str, key: str) -> None:
        if method == "GET" and "resource=" in key:
            client.put_object(Bucket=BUCKET, Key=f"lms/all/{LOCK}", Body=b'{"id":"other","since":"now","host":"there"}')

    exports.s3.fault = take
    with pytest.raises(ExportError, match="was broken, by an export begun now on there"):
        await exports(format="jsonl")
    found = exports.objects()
    del found[LOCK]
    assert found == before


@pytest.mark.parametrize("incremental", [False, True])
async def test_a_file_that_is_not_as_it_was_written_is_written_again(exports: Exports, incremental: bool) -> None:
    """Though it would be the same that the manifest tells of, and has the same size."""
    await exports(format="jsonl")
    before = exports.objects()
    (name, *_) = sorted(name for name in before if name.startswith("resource="))
    exports.s3.client.put_object(Bucket=BUCKET, Key=f"lms/all/{name}", Body=before[name].swapcase())
    assert not verify(exports.url, store_options=exports.s3.options).ok
    exports.s3.requests.clear()
    await exports(format="jsonl", incremental=incremental)
    assert sorted(exports.objects()[name].splitlines()) == sorted(before[name].splitlines())
    assert verify(exports.url, store_options=exports.s3.options).ok


async def test_a_manifest_that_somebody_else_wrote_is_not_written_over(exports: Exports) -> None:
    await exports()
    client = exports.s3.client
    other = exports.objects()["_manifest.json"].replace(b'"sdk"', b'"sdk" ')

    def slip_in(method: str, key: str) -> None:
        if method == "GET" and "resource=" in key:
            client.put_object(Bucket=BUCKET, Key="lms/all/_manifest.json", Body=other)

    exports.s3.fault = slip_in
    with pytest.raises(ExportError, match=r"somebody else has written _manifest.json"):
        await exports()
    assert exports.objects()["_manifest.json"] == other
    exports.s3.fault = lambda method, key: None
    assert (await exports()).ok


async def test_an_answer_that_is_lost_is_no_conflict(exports: Exports) -> None:
    """Lock and manifest are written once, with conditions; the second try meets the first one's work."""
    seen: set[str] = set()

    def lose_first(method: str, key: str) -> str | None:
        name = f"{method} {key}"
        if method in ("PUT", "POST") and name not in seen:
            seen.add(name)
            return "lost"
        return None

    exports.s3.fault = lose_first
    assert (await exports()).ok
    assert len(seen) >= 4 + 3
    assert LOCK not in exports.names()
    assert verify(exports.url, store_options=exports.s3.options).ok


async def test_a_store_that_fails_for_a_while_is_waited_for(exports: Exports) -> None:
    failed: dict[str, int] = {}

    def fail_twice(method: str, key: str) -> str | None:
        failed[method + key] = failed.get(method + key, 0) + 1
        return "503" if failed[method + key] <= 2 else None

    exports.s3.fault = fail_twice
    assert (await exports(resources=["users"], accounts=exports.sandbox.account_ids[:1])).ok
    assert sum(min(2, count) for count in failed.values()) >= 10


async def test_a_store_that_fails_for_good_ends_it_and_the_same_call_goes_on(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched is kept: nothing of it is fetched again."""
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 1})
    exports.s3.fault = lambda method, key: "503" if "resource=" in key else None
    with pytest.raises(ExportError, match=r"writing in s3://lake/lms/all failed: the store answered 503 SlowDown"):
        await exports(resources=["users"], accounts=exports.sandbox.account_ids[:1])
    asked = exports.sandbox.request_count
    exports.s3.fault = lambda method, key: None
    assert (await exports(resources=["users"], accounts=exports.sandbox.account_ids[:1])).ok
    assert exports.sandbox.request_count == asked
    assert exports.left() == set()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"access_key_id": "AKIAWRONGWRONGWRONG0"}, "the credentials are not accepted (403 InvalidAccessKeyId)"),
        ({"bucket": "no-such-bucket"}, "there is no bucket no-such-bucket"),
        ({"endpoint": "http://127.0.0.1:9"}, "nothing answers there"),
        ({"frobnicate": "yes"}, "there is no store option 'frobnicate' of s3://; see"),
        ({"AWS_ACESS_KEY_ID": "x"}, "'aws_acess_key_id' of s3://: access_key_id is meant?"),
        ({"timeout": "soon"}, "the value of a store option cannot be read"),
    ],
)
async def test_what_is_wrong_with_the_store_is_told_before_anything_is_fetched(
    exports: Exports, change: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, without what the store itself said, which may hold secrets."""
    monkeypatch.setattr(objects, "FIRST_RETRY", {"max_retries": 0})
    asked = exports.sandbox.request_count
    if "bucket" in change:
        exports.url = f"s3://{change['bucket']}/lms/all"
        change = {}
    with pytest.raises(ExportError) as caught:
        await exports(store_options={**exports.s3.options, **change})
    assert said in str(caught.value)
    assert SECRET not in repr(caught.value) + str(caught.value)
    assert exports.sandbox.request_count == asked
    assert exports.objects() == {}


@pytest.mark.parametrize(("method", "name"), [("PUT", LOCK), ("POST", "?delete"), ("GET", "_manifest.json")])
async def test_a_permission_that_is_missing_is_told_before_anything_is_fetched(
    exports: Exports, method: str, name: str
) -> None:
    asked = exports.sandbox.request_count
    exports.s3.fault = lambda used, key: "403" if used == method and key.endswith(name) else None
    with pytest.raises(ExportError, match="403"):
        await exports()
    assert exports.sandbox.request_count == asked


async def test_no_credentials_are_told_as_that(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role of the machine is asked for; here nothing answers in its place."""
    monkeypatch.setattr(objects, "FIRST_RETRY", {"max_retries": 0})
    options = {"endpoint": exports.s3.url, "metadata_endpoint": "http://127.0.0.1:9"}
    with pytest.raises(ExportError, match="there are no credentials: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        await exports(store_options=options)


async def test_a_store_without_conditional_writes_is_refused(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would keep two exports apart there."""
    before = objects.Objects.put

    def put(self: objects.Objects, name: str, data: bytes, over: objects.Version | None) -> objects.Version:
        exports.s3.client.delete_object(Bucket=BUCKET, Key=f"lms/all/{name}")
        return before(self, name, data, None)

    monkeypatch.setattr(objects.Objects, "put", put)
    with pytest.raises(ExportError, match="needs conditional writes"):
        await exports()
    assert exports.objects() == {}


async def test_obstore_missing_is_told_with_the_command(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ExportError, match=r"pip install 'stackone-lms\[store\]'"):
        await exports()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"work": None}, "needs work: a folder on this machine"),
        ({"work": "s3://lake/work"}, "work must be the path of a folder on this machine"),
        ({"store_options": {"region": 1}}, "the one called 'region' is not"),
        ({"store_options": "region=1"}, "store_options must be texts by their names"),
        ({"break_lock": "yes"}, "break_lock must be True or False"),
        ({"store_options": {"endpoint": "http://minio:9000"}}, "the store at minio is reached without TLS"),
    ],
)
async def test_options_that_cannot_be_are_refused(exports: Exports, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        await exports(**options)
    assert exports.s3.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///x",
        f"s3://{KEY}:{SECRET}@lake/x",
        "s3://lake/x?region=1",
        "s3://lake/../x",
        "s3://lake//x",
        "s3://lake",
        "az://lake/",
        "gs://",
    ],
)
async def test_urls_that_cannot_be_are_refused(exports: Exports, url: str) -> None:
    exports.url = url
    with pytest.raises(InvalidArgumentError, match="bucket/prefix") as caught:
        await exports()
    assert SECRET not in str(caught.value)


async def test_options_of_stores_are_refused_for_folders(exports: Exports, tmp_path: Path) -> None:
    exports.url = str(tmp_path / "data")
    with pytest.raises(InvalidArgumentError, match="are for a target in a store"):
        await exports()


async def test_a_work_folder_is_of_one_target(exports: Exports) -> None:
    await exports()
    exports.url += "/other"
    with pytest.raises(ExportError, match="the work folder holds the journals of s3://lake/lms/all: give each target"):
        await exports()


async def test_a_lock_that_cannot_be_read_is_of_somebody_else(exports: Exports) -> None:
    """After an export that gave its own back, too."""
    await exports()
    exports.s3.client.put_object(Bucket=BUCKET, Key="lms/all/_export.lock", Body=b"?")
    with pytest.raises(ExportError, match="begun at an unknown time on an unknown machine"):
        await exports()


@pytest.mark.thorough
async def test_verify_finds_an_object_that_is_damaged_gone_or_not_part_of_it(exports: Exports) -> None:
    await exports()
    names = sorted(name for name in exports.names() if name.startswith("resource="))
    client, prefix = exports.s3.client, "lms/all"
    body = bytearray(exports.objects()[names[0]])
    body[len(body) // 2] ^= 1
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/{names[0]}", Body=bytes(body))
    client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{names[1]}")
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/resource=users/account=x/part-1.parquet", Body=b"?")
    problems = verify(exports.url, store_options=exports.s3.options).problems
    assert [text.partition(":")[2][:20] for text in problems] == [
        " not as it was writt",
        " missing",
        " not part of the exp",
    ]
    repaired = await exports(incremental=True)
    reasons = sorted(one.whole_because.rpartition(" is ")[2] for one in repaired.lists if one.whole_because)
    assert reasons == ["gone", "not as it was written"]
    assert len(verify(exports.url, store_options=exports.s3.options).problems) == 1


@pytest.mark.thorough
async def test_pruned_accounts_go_after_the_manifest_and_forgotten_ones_leave_nothing(exports: Exports) -> None:
    first, second = exports.sandbox.account_ids
    await exports(raw=True)
    exports.s3.requests.clear()
    result = await exports(accounts=[first], prune=True)
    assert result.pruned_accounts == (second,)
    order = [(method, key.removeprefix("lms/all/")) for method, key in exports.s3.requests]
    manifest = order.index(("PUT", "_manifest.json"))
    assert order.index(("PUT", LOCK), 5) < manifest < len(order) - 1 - order[::-1].index(("POST", "?delete"))
    files = {file["path"] for entry in exports.manifest()["lists"] for file in entry["files"]}
    assert exports.names() == {"_manifest.json", *files}
    assert len(files) == 2
    await exports()
    with pytest.raises(InvalidArgumentError, match="needs work"):
        forget(exports.url, first, store_options=exports.s3.options)
    (gone,) = forget(exports.url, first, work=exports.folder / "here", store_options=exports.s3.options)
    assert (gone.lists, gone.records) == (2, 46)
    assert not any(first.encode() in body or first in name for name, body in exports.objects().items())
    assert LOCK not in exports.names()
    assert not any(first.encode() in path.read_bytes() for path in exports.folder.rglob("*") if path.is_file())
    assert verify(exports.url, store_options=exports.s3.options).ok


async def test_failed_lists_are_tried_again_from_the_same_work_folder_or_another(exports: Exports) -> None:
    first = exports.sandbox.account_ids[0]
    dead = exports.sandbox.inactive_account_id
    result = await exports(accounts=[first, dead])
    assert result.failed_accounts == (dead,)
    assert (exports.folder / "here" / "failed-accounts.txt").read_text().startswith(dead)
    again = await exports("elsewhere", retry_failed=True, accounts=None)
    assert {one.account_id for one in again.lists} == {dead}
    assert LOCK not in exports.names()
    assert verify(exports.url, store_options=exports.s3.options).ok


@pytest.mark.thorough
async def test_a_list_that_failed_goes_on_unless_another_machine_has_completed_it(exports: Exports) -> None:
    """Its journal is kept here; what was put into the store since then is newer than its first pages."""
    options: dict[str, Any] = {"accounts": exports.sandbox.account_ids[:1], "resources": ["completions"]}
    options |= {"page_size": 10, "commit_interval": 0.0}

    async def fail_behind_the_first_page(machine: str) -> None:
        planned: list[int] = []

        def fail(progress: ExportProgress) -> None:
            if progress.records and not planned:
                planned.append(1)
                exports.sandbox.fail_next(501)

        assert (await exports(machine, progress=fail, **options)).failures

    async def asked(machine: str) -> int:
        before = exports.sandbox.request_count
        assert (await exports(machine, retry_failed=True, **options)).ok
        return exports.sandbox.request_count - before

    await fail_behind_the_first_page("here")
    whole = await asked("elsewhere")
    await fail_behind_the_first_page("here")
    assert await asked("here") < whole
    await fail_behind_the_first_page("here")
    assert (await exports("elsewhere", **options)).ok
    await fail_behind_the_first_page("elsewhere")
    assert await asked("here") == whole


async def test_a_report_reads_the_store(exports: Exports, tmp_path: Path) -> None:
    await exports()
    page = tmp_path / "report.html"
    assert write_report(exports.url, page, store_options=exports.s3.options) == 80
    assert page.stat().st_size > 1_000_000


async def test_a_large_file_goes_in_one_request(exports: Exports, tmp_path: Path) -> None:
    """An upload in parts that is broken off leaves parts that nobody sees and somebody pays for."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(40_000_000)
    made = objects.Objects(Address("s3", BUCKET, "lms/all"), exports.s3.options)
    made.put_file(path, "large")
    assert exports.s3.requests == [("PUT", "lms/all/large")]
    assert made.list() == {"large": 40_000_000}
    made.delete(["large", "never there"])
    assert made.list() == {}


@pytest.fixture
def run(exports: Exports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    variables = settings(exports.sandbox)
    del variables["STACKONE_ACCOUNT_ID"]
    aws = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": exports.s3.url}
    return runner(monkeypatch, capsys, {**variables, **aws, "COLUMNS": "120"})


def test_the_command_line_does_all_of_it(run: Run, exports: Exports, tmp_path: Path) -> None:
    work, page = str(tmp_path / "work"), str(tmp_path / "page.html")
    first = exports.sandbox.account_ids[0]
    option = ("--store-option", "region=us-east-1")
    ended = run("export", "completions", "users", "--all-accounts", "--out", exports.url, "--work", work, *option)
    assert ended.code == 0, ended.err
    assert "92 records in" in ended.err
    ended = run("export", "users", "--account", first, "--out", exports.url, "--work", work, "--incremental")
    assert ended.code == 0, ended.err
    ended = run("export", "verify", exports.url, *option)
    assert (ended.code, ended.err) == (0, "4 files, 92 records: all as exported\n")
    assert run("report", exports.url, "--out", page).code == 0
    ended = run("export", "forget", exports.url, "--account", first, "--work", work)
    assert (ended.code, "nothing of it is left" in ended.err) == (0, True)
    assert run("export", "verify", exports.url).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "s3://lake/x"), "needs work"),
        (("--out", "s3://lake/x", "--work", "w", "--store-option", SECRET), "must be KEY=VALUE"),
        (("--out", "folder", "--work", "w"), "are for a target in a store"),
        (("--out", "folder", "--break-lock"), "are for a target in a store"),
    ],
)
def test_the_command_line_refuses_what_cannot_be(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ended = run("export", "users", "--account", "1", *arguments)
    assert ended.code == 2, ended.err
    assert said in " ".join(ended.err.split())
    assert SECRET not in ended.err


def test_with_all_accounts_the_store_is_asked_before_the_api(run: Run, exports: Exports, tmp_path: Path) -> None:
    asked = exports.sandbox.request_count
    ended = run(
        "export", "users", "--all-accounts", "--out", "s3://no-such-bucket/x", "--work", str(tmp_path / "w"),
    )  # fmt: skip
    assert ended.code == 1
    assert "there is no bucket no-such-bucket" in ended.err
    assert exports.sandbox.request_count == asked
