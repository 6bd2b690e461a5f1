"""The journal of a list: what it takes for granted after a crash, and what it does not."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from stackone_lms.export.state.journal import VERSION, Header, Journal

HEAD = Header(VERSION, {"page_size": 100}, "2026-01-01T00:00:00.000Z", False)


def opened(folder: Path, header: Header = HEAD) -> Journal:
    return Journal(folder, header, with_calls=True, resume=lambda _: True)


async def page(journal: Journal, *items: bytes, cursor: str) -> None:
    """Append a page, and commit it."""
    journal.append(items, items)
    journal.move(cursor=cursor, records=journal.checkpoint.records + len(items))
    await journal.commit()


async def test_rows_behind_the_last_mark_are_cut_off(tmp_path: Path) -> None:
    """What was appended and not committed is gone, and the cursor is the one before it."""
    journal = opened(tmp_path)
    await page(journal, b'{"id":1}', cursor="c1")
    journal.append([b'{"id":2}'], [b'{"id":2}'])
    await journal.aclose()
    journal = opened(tmp_path)
    assert (journal.checkpoint.cursor, journal.checkpoint.records) == ("c1", 1)
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "calls").read_bytes() == b'{"id":1}\n'
    await journal.aclose()


@pytest.mark.parametrize("torn", [b"0", b'deadbeef {"type":"mark"', b'00000000 {"type":"mark","rows":9}\n', b"\0" * 80])
async def test_a_torn_or_damaged_end_of_the_journal_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    """Marks that follow later stand behind the last good one, and are found again."""
    journal = opened(tmp_path)
    await page(journal, b'{"id":1}', cursor="c1")
    await journal.aclose()
    with (tmp_path / "journal").open("ab") as file:
        file.write(torn)
    journal = opened(tmp_path)
    assert journal.checkpoint.cursor == "c1"
    await page(journal, b'{"id":2}', cursor="c2")
    await journal.aclose()
    journal = opened(tmp_path)
    assert (journal.checkpoint.cursor, journal.checkpoint.records) == ("c2", 2)
    await journal.aclose()


async def test_a_spool_shorter_than_its_mark_is_fetched_again(tmp_path: Path) -> None:
    """A disk that lost what it said was durable costs time, not records."""
    journal = opened(tmp_path)
    await page(journal, b'{"id":1}', b'{"id":2}', cursor="c1")
    await journal.aclose()
    with (tmp_path / "rows").open("r+b") as file:
        file.truncate(4)
    journal = opened(tmp_path)
    assert (journal.checkpoint.cursor, journal.checkpoint.records) == (None, 0)
    assert (tmp_path / "rows").read_bytes() == b""
    await journal.aclose()


async def test_the_query_is_that_of_the_beginning(tmp_path: Path) -> None:
    """After a crash a list goes on with the query that its cursor was made for."""
    journal = opened(tmp_path)
    await page(journal, b"{}", cursor="c1")
    await journal.aclose()
    other = msgspec.structs.replace(HEAD, query={"page_size": 7})
    journal = opened(tmp_path, other)
    assert journal.header == HEAD
    await journal.aclose()


async def test_another_version_begins_anew(tmp_path: Path) -> None:
    """A journal that this package cannot read costs a fetch, not the export."""
    other = msgspec.structs.replace(HEAD, version=VERSION + 1)
    journal = opened(tmp_path, other)
    await page(journal, b"{}", cursor="c1")
    await journal.aclose()
    journal = opened(tmp_path)
    assert journal.header == HEAD
    assert (journal.checkpoint.cursor, journal.rows.size) == (None, 0)
    await journal.aclose()


async def test_a_restart_goes_back_to_where_the_list_of_the_cursor_began(tmp_path: Path) -> None:
    """Rows of lists that were read before stay; those of the one that starts again go."""
    journal = opened(tmp_path)
    await page(journal, b'{"id":1}', cursor="c1")
    journal.move(cursor=None, user="u1", since=journal.here(1))
    await page(journal, b'{"id":2}', cursor="c2")
    await journal.restart()
    await page(journal, b'{"id":3}', cursor="c3")
    await journal.aclose()
    journal = opened(tmp_path)
    assert (tmp_path / "rows").read_bytes() == b'{"id":1}\n{"id":3}\n'
    assert (journal.checkpoint.user, journal.checkpoint.cursor) == ("u1", "c3")
    assert journal.checkpoint.records == 2
    await journal.aclose()


async def test_line_breaks_between_tokens_do_not_break_lines(tmp_path: Path) -> None:
    """A record that was sent over several lines stands on one, and is otherwise as it was sent."""
    journal = opened(tmp_path)
    await page(journal, b'{\r\n "id": 1\n}', b'{"text":"a\\nb"}', cursor="c1")
    assert (tmp_path / "rows").read_bytes() == b'{   "id": 1 }\n{"text":"a\\nb"}\n'
    await journal.aclose()


async def test_it_needs_no_thread_of_the_loops_executor(tmp_path: Path) -> None:
    """An application may have filled that, and once the main thread has ended it takes no work."""
    journal = opened(tmp_path)
    executor = ThreadPoolExecutor()
    asyncio.get_running_loop().set_default_executor(executor)
    executor.shutdown()
    await page(journal, b'{"id":1}', cursor="c1")
    assert journal.checkpoint.cursor == "c1"
    await journal.restart()
    assert journal.checkpoint.cursor is None
    await journal.aclose()
