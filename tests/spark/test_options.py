"""The options and the schema of the Spark source, which are checked without Spark, before anything is sent."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stackone_lms.errors import ConfigurationError, InvalidArgumentError
from stackone_lms.export.lists import resources
from stackone_lms.options import RateLimit, Timeout
from stackone_lms.shared_limit import SharedLimit
from stackone_lms.spark import register
from stackone_lms.spark.columns import Field, as_ddl, check_fields, columns_of_slices, fields_of
from stackone_lms.spark.options import read_options

KEY = "v1.a-key-that-nobody-should-see"


def given(**several: str) -> dict[str, str]:
    """Options as Spark passes them on."""
    return {
        name.lower(): value for name, value in {"path": "users", "apiKey": KEY, "accounts": "1,2", **several}.items()
    }


def test_what_was_given() -> None:
    found = read_options(
        given(path="assignments", accounts=" 1, 2,", partitions="3", status="pending", pageSize="50", onError="Skip")
        | {"updatedafter": "2026-01-31", "accountsatonce": "5", "pushdown": "True"}
    )
    assert (found.accounts, found.partitions, found.accounts_at_once, found.pushdown) == (("1", "2"), 3, 5, True)
    one = found.slice("1", ("id",))
    assert (one.updated_after, one.page_size, dict(one.filters)) == (
        "2026-01-31T00:00:00.000Z",
        50,
        {"status": "pending"},
    )
    assert found.on_error == "skip"
    assert (found.lag, found.poll_interval) == (timedelta(minutes=10), timedelta(minutes=10))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"acounts": "1"}, "there is no option 'acounts'; there are: accounts, accountsPath, allAccounts, apiKey"),
        ({"path": "nothing"}, "there is no list 'nothing'; there are: assignments, "),
        ({"path": ""}, 'name the list: .load("completions")'),
        ({"accounts": "1,2,1"}, "the account '1' is given twice"),
        ({"accounts": "1,a b"}, "'a b', one of the accounts, holds white space"),
        ({"accounts": ","}, "name at least one account"),
        ({"allaccounts": "true"}, "give only one of accounts and allAccounts"),
        ({"accountspath": "x"}, "give only one of accounts and accountsPath"),
        ({"apikey": ""}, "the option apiKey is empty"),
        ({"baseurl": "http://example.com"}, "base_url must be https"),
        ({"partitions": "0"}, "the option partitions must be a whole number, 1 or more, not '0'"),
        ({"partitions": "many"}, "the option partitions must be a whole number"),
        ({"pagesize": "1.5"}, "the option pageSize must be a whole number"),
        ({"pushdown": "yes"}, "the option pushdown must be true or false, not 'yes'"),
        ({"updatedafter": "soon"}, "the option updatedAfter must be a date or a moment"),
        ({"status": "pending"}, "users have no filter 'status'"),
        ({"onerror": "ignore"}, "the option onError must be fail, skip or row, not 'ignore'"),
        ({"lag": "10"}, "the option lag must be a span of time such as 90m"),
        ({"limiturl": "http://x"}, "the URL of a shared limit must look like"),
        ({"apikey": "with:colon"}, "holds a colon"),
    ],
)
def test_what_cannot_be(wrong: Mapping[str, str], message: str) -> None:
    with pytest.raises((InvalidArgumentError, ConfigurationError)) as caught:
        read_options({**given(), **wrong})
    assert message in str(caught.value)


def test_accounts_are_named_in_one_way() -> None:
    nobody = {name: value for name, value in given().items() if name != "accounts"}
    for wrong in (nobody, nobody | {"allaccounts": "false"}):
        with pytest.raises(InvalidArgumentError, match="accounts"):
            read_options(wrong)
    assert read_options(nobody | {"allaccounts": "true"}).accounts is None


def test_a_file_names_accounts_each_once(tmp_path: Path) -> None:
    file = tmp_path / "accounts"
    nobody = {name: value for name, value in given(accountsPath=str(file)).items() if name != "accounts"}
    with pytest.raises(InvalidArgumentError, match="cannot be read: No such file"):
        read_options(nobody)
    file.write_text("1\n# a comment\n2\n")
    assert read_options(nobody).accounts == ("1", "2")
    for text in ("\ufeffid,account_id\nx,1\ny,2\n", "\ufeff1\r\n2\r\n"):
        file.write_text(text)
        assert read_options(nobody).accounts == ("1", "2")
    assert read_options({**nobody, "accountspath": file.as_uri()}).accounts == ("1", "2")
    for url in ("dbfs:///accounts", "s3://bucket/accounts", "file://host/accounts"):
        with pytest.raises(InvalidArgumentError, match="accountsPath must be a file that the driver can open"):
            read_options({**nobody, "accountspath": url})
    file.write_text("# nobody\n")
    with pytest.raises(InvalidArgumentError, match="name at least one account"):
        read_options(nobody)
    file.write_text("1\n2\n1\n")
    with pytest.raises(InvalidArgumentError, match="the account '1' is given twice"):
        read_options(nobody)


def test_the_key_is_an_option_or_in_the_environment_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {name: value for name, value in given().items() if name != "apikey"}
    with pytest.raises(ConfigurationError, match="no API key: pass "):
        read_options(without)
    monkeypatch.setenv("STACKONE_API_KEY", KEY)
    assert str(read_options(without).connect.api_key) == KEY


def test_an_executor_gets_all_that_it_needs_and_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BASE_URL": "http://127.0.0.1:5/x", "TIMEOUT": "7", "REQUESTS_PER_MINUTE": "90"}.items():
        monkeypatch.setenv(f"STACKONE_{name}", value)
    found = read_options(given())
    for name in ("BASE_URL", "TIMEOUT", "REQUESTS_PER_MINUTE"):
        monkeypatch.delenv(f"STACKONE_{name}")
    connect = pickle.loads(pickle.dumps(found.shared_by(3)))
    assert connect == found.shared_by(3)
    assert KEY not in repr(found) + repr(connect) + f"{connect}" + repr(connect.api_key)
    assert connect.rate_limit == RateLimit(90, burst=1, share=1 / 3)
    assert (connect.base_url, connect.timeout) == ("http://127.0.0.1:5/x", Timeout(total=7.0))
    client = connect.client()
    assert client is found.shared_by(3).client()  # one a process
    client.close()


def test_a_limit_at_a_url_is_shared_whole(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/limit"
    found = read_options(given(limitUrl=url, requestsPerMinute="70"))
    limit = pickle.loads(pickle.dumps(found.shared_by(5))).rate_limit
    assert limit == SharedLimit.from_url(url, requests=70)


def test_some_options_are_for_batches_and_some_for_streams() -> None:
    for name, value in (("partitions", "2"), ("pushdown", "false"), ("onError", "row")):
        read_options(given(**{name: value})).for_batch()
        with pytest.raises(InvalidArgumentError, match=f"{name}.*spark.read"):
            read_options(given(**{name: value})).for_stream()
    for name in ("lag", "pollInterval"):
        read_options(given(**{name: "5m"})).for_stream()
        with pytest.raises(InvalidArgumentError, match=f"the option {name} is for spark.readStream"):
            read_options(given(**{name: "5m"})).for_batch()


@pytest.mark.parametrize("resource", resources())
def test_every_column_has_a_type_of_spark(resource: str) -> None:
    ddl = as_ddl(fields_of(resource, failures=True))
    assert ddl.startswith("`account_id` string, ")
    assert ddl.endswith("`extra` string, `_failure` string")


def test_a_schema_narrows_the_columns() -> None:
    wanted = [Field("id", "string"), Field("account_id", "string"), Field("updated_at", "timestamp")]
    names = check_fields("users", wanted, failures=False)
    assert names == columns_of_slices("users", names) == ("id", "account_id", "updated_at")
    everything = check_fields("users", fields_of("users", failures=False), failures=False)
    assert columns_of_slices("users", everything) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([Field("nope", "string")], "users have no column 'nope'; there are: account_id, id, "),
        ([Field("id", "int")], "the column id is string, not int: cast it after reading"),
        ([Field("id", "string", nullable=False)], "the column id may be null: leave NOT NULL away"),
        ([Field("id", "string"), Field("id", "string")], "the column 'id' is given twice"),
        ([Field("_failure", "string")], "users have no column '_failure'"),
        ([Field("unified", "struct<a:string>")], "its fields are columns of their own: unified_custom_fields"),
        ([], "the schema has no column"),
    ],
)
def test_a_schema_that_cannot_be(fields: list[Field], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_fields("users", fields, failures=False)
    assert message in str(caught.value)


def test_failures_as_rows_need_their_column() -> None:
    with pytest.raises(InvalidArgumentError, match="needs the column _failure string"):
        check_fields("users", [Field("id", "string")], failures=True)


@pytest.mark.parametrize("version", ["3.5.1", "0.1", "?"])
def test_a_pyspark_that_is_too_old_is_told(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        __version__ = version

    monkeypatch.setitem(__import__("sys").modules, "pyspark", Old)
    with pytest.raises(ImportError, match="needs pyspark 4 or newer; this is"):
        register(object())


def test_a_pyspark_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: Any = None
    monkeypatch.setitem(__import__("sys").modules, "pyspark", missing)
    with pytest.raises(ImportError, match="pip install 'pyspark>=4'"):
        register(object())
