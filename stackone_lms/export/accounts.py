"""Files that name linked accounts."""

from __future__ import annotations

import codecs
import csv
import io
import re
from pathlib import Path
from typing import Final

from ..configuration import check_token
from ..errors import InvalidArgumentError

COLUMN: Final = "account_id"
_COMMENT: Final = re.compile(r"(?:^|\s)#")  # an id may hold one
_SEPARATORS: Final = (",", ";", "\t")
"""Of a CSV with a header; spreadsheets write semicolons where the comma is in numbers."""
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_accounts(path: Path) -> list[str]:
    """Return the account ids of a file, each once.

    They stand one a line, or in the column `account_id` of a CSV with a header, whose columns are separated by commas,
    semicolons or tabs. It is UTF-8, with or without a byte order mark, or UTF-16 with one. Blank lines and what follows
    a `#` are passed over.

    Raises:
        InvalidArgumentError: It cannot be read, or a line is no account id; the message names its number.
    """
    return list(dict.fromkeys(listed_accounts(path)))


def listed_accounts(path: Path) -> list[str]:
    """Return the account ids of a file as often as they stand there; see `read_accounts`.

    Raises:
        InvalidArgumentError: It cannot be read, or a line is no account id; the message names its number.
    """
    try:
        return _ids_in(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidArgumentError(f"{str(path)!r:.200} cannot be read: {error.strerror}") from None


def parse_accounts(data: bytes, name: str) -> list[str]:
    """Return the account ids in the bytes of a file of that name, each once; see `read_accounts`.

    Raises:
        InvalidArgumentError: A line is no account id; the message names its number.
    """
    return list(dict.fromkeys(_ids_in(data, name)))


def _ids_in(data: bytes, name: str) -> list[str]:
    encoding = next((encoding for bom, encoding in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidArgumentError(f"{name}, line {line}: neither UTF-8, nor UTF-16 with a byte order mark") from None
    lines = [_COMMENT.split(line, maxsplit=1)[0].strip(" ") for line in text.splitlines()]
    lines = [line if line.strip() else "" for line in lines]
    first = next((number for number, line in enumerate(lines) if line), len(lines))
    column, several, separator = 0, 1, ","
    for between in _SEPARATORS if first < len(lines) else ():
        header = [name.casefold() for name in _cells(lines[first], between)]
        if COLUMN in header:
            column, several, separator = header.index(COLUMN), len(header), between
            lines[first] = ""
            break
    found: list[str] = []
    for number, filled in enumerate(lines, 1):
        cells = _cells(filled, separator)
        if not cells:
            continue
        if several == 1 and len(cells) > 1:
            raise InvalidArgumentError(f"{name}, line {number}: several columns, but no header with {COLUMN}")
        if column >= len(cells):
            raise InvalidArgumentError(f"{name}, line {number}: there is no {COLUMN}")
        found.append(check_token(cells[column], f"{name}, line {number}: the account id", InvalidArgumentError))
    return found


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for row in csv.reader(io.StringIO(line), delimiter=separator) for cell in row]
