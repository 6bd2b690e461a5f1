"""Lists and streams as tables and data frames, with the extras that this needs."""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import Any, Literal

from ..checks import import_extra

Errors = Literal["extra", "raise", "skip"]
"""What to do with an item that does not decode as a record, and with an outcome that is an error.

`extra`: what does not decode is a row of its own, with what fits in its columns and the rest in `extra`. `raise`: the
error of what does not decode is raised. Both raise other errors. `skip`: what is no record is left out.
"""


class Tabular:
    """What has records."""

    __slots__ = ()

    @property
    def _model(self) -> Any:
        """The model of its records."""
        raise NotImplementedError


class AsyncTabular(Tabular):
    """What is iterated with `async for` and becomes a table."""

    __slots__ = ()

    async def to_arrow(self, *, errors: Errors = "extra") -> Any:
        """Return all records as an Arrow table, as `stackone_lms.arrow.to_arrow` does.

        Args:
            errors: What to do with what is no record. `extra`: an item that does not decode is a row of its own, with
                what fits in its columns and the rest in `extra`; other errors are raised. `raise`: every error is
                raised. `skip`: what is no record is left out.

        Raises:
            ExportError: pyarrow is not installed; the message names the extra.
            StackOneError: What the iteration raises.
        """
        return await _to_arrow(self, self._model, errors)

    async def to_pandas(self, *, errors: Errors = "extra") -> Any:
        """Return all records as a pandas data frame; see `to_arrow`."""
        import_extra("pandas", extra="pandas")
        return (await self.to_arrow(errors=errors)).to_pandas()

    async def to_polars(self, *, errors: Errors = "extra") -> Any:
        """Return all records as a Polars data frame; see `to_arrow`."""
        polars = import_extra("polars", extra="polars")
        return polars.from_arrow(await self.to_arrow(errors=errors))


class SyncTabular(Tabular):
    """What is iterated with `for` and becomes a table."""

    __slots__ = ()

    def to_arrow(self, *, errors: Errors = "extra") -> Any:
        """Return all records as an Arrow table, as `stackone_lms.arrow.to_arrow` does.

        Args:
            errors: What to do with what is no record. `extra`: an item that does not decode is a row of its own, with
                what fits in its columns and the rest in `extra`; other errors are raised. `raise`: every error is
                raised. `skip`: what is no record is left out.

        Raises:
            ExportError: pyarrow is not installed; the message names the extra.
            StackOneError: What the iteration raises.
        """
        return _to_arrow(self, self._model, errors)

    def to_pandas(self, *, errors: Errors = "extra") -> Any:
        """Return all records as a pandas data frame; see `to_arrow`."""
        import_extra("pandas", extra="pandas")
        return self.to_arrow(errors=errors).to_pandas()

    def to_polars(self, *, errors: Errors = "extra") -> Any:
        """Return all records as a Polars data frame; see `to_arrow`."""
        polars = import_extra("polars", extra="polars")
        return polars.from_arrow(self.to_arrow(errors=errors))


def _to_arrow(source: Any, model: Any, errors: Errors) -> Any:
    """Return what `stackone_lms.arrow.to_arrow` returns; it stands above this module and needs an extra."""
    return import_module("stackone_lms.arrow").to_arrow(source, model, errors=errors)


def hint(pager: object) -> str:
    """Return what a notebook shows of a list that was not fetched."""
    return f"<code>{escape(repr(pager))}</code><p>Nothing is fetched yet: iterate, or <code>first_page()</code>.</p>"
