"""Delta tables in an object store, which another process serves: deltalake does not let go of the interpreter."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError, InvalidArgumentError
from stackone_lms.export import export, forget, verify
from stackone_lms.export.stores.address import StoreAccess
from stackone_lms.export.stores.names import refuse_unknown_to_deltalake
from stackone_lms.export.targets import delta_files
from stackone_lms.export.targets.choose import make_target
from stackone_lms.export.targets.delta_storage import RemoteStorage
from stackone_lms.sandbox import Sandbox

from .s3 import BUCKET, OPTIONS
from .test_incremental import change
from .test_kill import ROOT
from .test_store_kill import machine

PLACE = f"s3://{BUCKET}/delta"
SERVE = """
import sys
from tests.export.s3 import running
with running() as server:
    print(server.url, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def options() -> Iterator[dict[str, str]]:
    """What reaching the store takes."""
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield {**OPTIONS, "endpoint": process.stdout.readline().strip()}
        finally:
            process.stdin.close()
            process.wait(60)


def rows(options: dict[str, str]) -> dict[tuple[str, str], str]:
    """Return the names of users by account and id, each of which is there once."""
    table: Any = import_module("deltalake").DeltaTable(
        f"{PLACE}/users", storage_options={**options, "allow_http": "true"}
    )
    found: Any = import_module("pyarrow").table(table.scan())
    names = {(row["account_id"], row["id"]): row["name"] for row in found.to_pylist()}
    assert len(names) == found.num_rows
    return names


def sent(sandbox: Sandbox) -> dict[tuple[str, str], str]:
    return {
        (account, id): str(sandbox.record("users", id, account)["name"])
        for account in sandbox.account_ids
        for id in sandbox.ids("users", account)
    }


@pytest.mark.thorough
async def test_tables_in_a_store(
    client: AsyncClient, sandbox: Sandbox, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one machine, then from another one with an empty work folder; verified, and an account forgotten."""
    monkeypatch.setattr(delta_files, "ROW_GROUP", 20)  # so that row groups are copied
    first, second = sandbox.account_ids
    target, resources = f"delta:{PLACE}", ["users", "completions"]
    common: dict[str, Any] = {"accounts": [first, second], "store_options": options}
    assert (await export(client, resources, target, work=tmp_path / "here", **common)).ok
    assert rows(options) == sent(sandbox)
    await change(client, sandbox)
    before = sandbox.request_count
    result = await export(client, resources, target, work=tmp_path / "there", incremental=True, **common)
    assert result.ok
    assert all(one.whole_because is None for one in result.lists)
    assert sandbox.request_count - before <= 8
    assert rows(options) == sent(sandbox)
    assert verify(target, store_options=options).problems == []
    (gone,) = forget(target, first, work=tmp_path / "here", store_options=options)
    assert gone.lists == 2
    assert {account for account, _ in rows(options)} == {second}
    assert not [*tmp_path.glob("here/drafts/*")], "copies of what was forgotten"
    assert verify(target, store_options=options).problems == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("delta:", "", f"{PLACE} holds Delta tables: give the files a prefix of their own"),
        ("", "delta:", f"{PLACE} holds an export of files: give the tables a prefix of their own"),
    ],
)
async def test_files_and_tables_do_not_share_a_prefix(
    first: str,
    second: str,
    message: str,
    client: AsyncClient,
    sandbox: Sandbox,
    options: dict[str, str],
    tmp_path: Path,
) -> None:
    """Else whoever looks at all files below it takes those of the other for strays."""
    common: Any = {"accounts": sandbox.account_ids, "store_options": options}
    assert (await export(client, "users", f"{first}{PLACE}", work=tmp_path / "one", **common)).ok
    before = sandbox.request_count
    with pytest.raises(ExportError, match=re.escape(message)):
        await export(client, "users", f"{second}{PLACE}", work=tmp_path / "other", **common)
    assert sandbox.request_count == before
    assert verify(f"{first}{PLACE}", store_options=options).problems == []


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_runs_leave_each_row_once(sandbox: Sandbox, options: dict[str, str], tmp_path: Path) -> None:
    """Blows at random moments, each gone on with by the same work folder."""
    s3: Any = SimpleNamespace(options=options)
    dice, killed = random.Random(20261128), 0
    with machine(sandbox, s3, tmp_path) as exports:
        code, latest = exports.run("cold", "cold", kind="delta:")
        assert code == 0
        while killed < 10:
            code, _ = exports.run("delta", "work", dice.uniform(0.0, latest), kind="delta:")
            killed += code == -signal.SIGKILL
            latest /= 1 if code else 2  # it had come to its end already
        assert exports.run("delta", "work", kind="delta:")[0] == 0
    assert rows(options) == sent(sandbox)
    assert verify(f"delta:{PLACE}", store_options=options).problems == []


def _absent(*_: object) -> Any:
    return ()


@pytest.mark.thorough
async def test_a_table_that_another_export_makes_meanwhile(
    client: AsyncClient, sandbox: Sandbox, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written to by that one alone, and the next run of this one finds it."""
    target = f"delta:{PLACE}"
    common: Any = {"accounts": sandbox.account_ids, "store_options": options}
    assert (await export(client, "users", target, work=tmp_path / "one", **common)).ok
    with monkeypatch.context() as patch:
        patch.setattr(import_module("deltalake").DeltaTable, "is_deltatable", _absent)
        patch.setattr(RemoteStorage, "names", _absent)
        with pytest.raises(ExportError, match=r"another export has just made s3://lake/delta/users: start the same"):
            await export(client, "users", target, work=tmp_path / "other", **common)
    assert (await export(client, "users", target, work=tmp_path / "other", **common)).ok
    assert rows(options) == sent(sandbox)


async def test_a_store_needs_a_work_folder(client: AsyncClient, sandbox: Sandbox) -> None:
    """It is told before anything else; nothing is made here."""
    with pytest.raises(InvalidArgumentError, match="needs work"):
        await export(client, "users", f"delta:{PLACE}", accounts=sandbox.account_ids)
    assert sandbox.request_count == 0
    assert not [*Path().glob(".stackone*")]


@pytest.mark.parametrize(
    ("url", "name", "message"),
    [
        (PLACE, "AWS_ACESS_KEY_ID", "'AWS_ACESS_KEY_ID' of s3://: access_key_id is meant?"),
        (PLACE, "service_account", "there is no store option 'service_account' of s3://"),
        ("gs://bucket/lake", "google_service_acount", ": service_account is meant?"),
        ("abfss://files@account.dfs.core.windows.net/lake", "azure_storage_acount_key", ": account_key is meant?"),
    ],
)
async def test_an_option_that_deltalake_would_pass_over_is_refused(
    url: str, name: str, message: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Before any request, and with the option that may have been meant; its value is not repeated."""
    given: Any = {"accounts": sandbox.account_ids, "work": tmp_path / "work", "store_options": {name: "hush"}}
    with pytest.raises(InvalidArgumentError) as caught:
        await export(client, "users", f"delta:{url}", **given)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)
    assert sandbox.request_count == 0


def test_what_deltalake_and_obstore_know_is_no_mistake() -> None:
    """All names of the type stubs of obstore, with and without their prefix, and those of deltalake alone."""
    stubs = Path(str(import_module("obstore").__file__)).parent / "_store"
    for module, kind, scheme, prefix in (
        ("_aws", "S3Config", "s3", "aws"),
        ("_gcs", "GCSConfig", "gs", "google"),
        ("_azure", "AzureConfig", "az", "azure"),
        ("_client", "ClientConfig", "s3", ""),
    ):
        body = (stubs / f"{module}.pyi").read_text("utf-8").partition(f"class {kind}(")[2].partition("\nclass ")[0]
        names = re.findall(r"^    (\w+): ", body, re.MULTILINE)
        names = [name for name in names if name != "Example"]
        assert len(names) > 6
        for name in names:
            refuse_unknown_to_deltalake([name, name.upper()], scheme)
            if prefix and not name.startswith(prefix):
                refuse_unknown_to_deltalake([f"{prefix}_{name}", f"{prefix}_{name}".upper()], scheme)
    theirs = ["AWS_S3_ALLOW_UNSAFE_RENAME", "AWS_S3_LOCKING_PROVIDER", "DELTA_DYNAMO_TABLE_NAME", "max_retries"]
    refuse_unknown_to_deltalake(theirs, "s3a")


@pytest.mark.parametrize("place", ["lake", PLACE, "s3a://bucket/lake"])
async def test_tables_have_no_lock_to_break(place: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    given: Any = {"accounts": sandbox.account_ids, "work": tmp_path / "work", "break_lock": True}
    with pytest.raises(InvalidArgumentError, match="tables have no lock"):
        await export(client, "users", f"delta:{place}", **given)


def test_a_work_folder_is_of_one_place(tmp_path: Path) -> None:
    """Else the lists that failed in one were those of the other, too."""
    access = StoreAccess(work=tmp_path / "work")
    for place in (PLACE, f"{PLACE}/"):
        make_target(f"delta:{place}", "parquet", access).acquire()
    with pytest.raises(ExportError, match=f"the work folder holds the journals of {PLACE}: give each target"):
        make_target(f"delta:{PLACE}/other", "parquet", access).acquire()
