"""The names of accounts, wherever an export tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackone_lms import AsyncClient, LinkedAccount
from stackone_lms.export import ExportProgress, export
from stackone_lms.export.report.summary import summarize
from stackone_lms.export.state import manifest
from stackone_lms.export.state.files import Files
from stackone_lms.sandbox import Sandbox

from ..cli.program import environment, settings
from ..cli.terminal import on_terminal, plain


async def test_an_export_of_listed_accounts_knows_their_names(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    listed = await client.accounts.list(status="active").collect()
    names = {one.id: one.name for one in listed}
    told: list[ExportProgress] = []
    result = await export(client, "completions", tmp_path, accounts=iter(listed), format="jsonl", progress=told.append)
    assert {one.account_id: one.account_name for one in result.lists} == names
    assert {one.account_id: one.account_name for one in told} == names
    first = result.lists[0]
    assert first.account == f"{names[first.account_id]} ({first.account_id})"
    found = manifest.read(Files(tmp_path))
    assert found is not None
    assert {one.account_id: one.account_name for one in found.lists} == names
    assert [one.name for one in summarize(tmp_path).accounts[1:]] == [names[one.account_id] for one in found.lists]


async def test_a_name_is_kept_where_the_next_run_has_ids_only(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    one = LinkedAccount(id=sandbox.account_ids[0], origin_owner_name="Acme", provider_name="Kestrel")
    await export(client, "courses", tmp_path, accounts=[one], format="jsonl")
    result = await export(client, "courses", tmp_path, accounts=sandbox.account_ids[:2], format="jsonl")
    assert [one.account_name for one in result.lists] == ["Acme · Kestrel", None]
    assert result.lists[1].account == sandbox.account_ids[1]


async def test_a_failed_account_is_named_in_the_file(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    broken = LinkedAccount(id=sandbox.inactive_account_id, origin_owner_name="Acme\nLtd")
    result = await export(client, "courses", tmp_path, accounts=[broken], format="jsonl")
    assert result.failures[0].account == f"Acme\\nLtd ({broken.id})"
    (line,) = (tmp_path / "_failed-accounts.txt").read_text().splitlines()
    assert line.startswith(f"{broken.id}  # Acme\\nLtd, courses: ")


async def test_a_report_tells_accounts_of_one_name_apart(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    same = [LinkedAccount(id=id, origin_owner_name="Acme") for id in sandbox.account_ids[:2]]
    await export(client, "completions", tmp_path, accounts=same, format="jsonl")
    names = [one.name for one in summarize(tmp_path).accounts[1:]]
    assert names == [f"Acme ({one.id})" for one in sorted(same, key=lambda one: one.id or "")]


async def test_an_account_without_a_name_is_its_id(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    nameless = LinkedAccount(id=sandbox.account_ids[0])
    result = await export(client, "courses", tmp_path, accounts=[nameless], format="jsonl")
    assert result.lists[0].account == sandbox.account_ids[0]


@pytest.mark.parametrize("columns", [60, 80, 130])
def test_the_summary_fits_the_terminal(sandbox: Sandbox, tmp_path: Path, columns: int) -> None:
    """Numbers stay in one line, and names are folded between words."""
    env = environment(**settings(sandbox))
    arguments = ["export", "courses", "--all-accounts", "--format", "jsonl", "--out", str(tmp_path)]
    ended = on_terminal(*arguments, env=env, columns=columns)
    assert ended.code == 0
    shown = plain(ended.out).splitlines()
    head = next(n for n, line in enumerate(shown) if line.startswith("resource"))
    assert shown[head].split()[:3] == ["resource", "account", "records"]
    assert ("changed" in shown[head]) == (columns > 120)
    rows = [line for line in shown[head + 1 :] if line.startswith("courses")]
    assert len(rows) == len(sandbox.account_ids)
    assert all(len(line) <= columns and "complete" in line for line in rows)
