"""The classes that Spark makes and sends to its workers: all that is imported of pyspark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..batches import Slice
from ..errors import ConfigurationError
from .columns import Field, as_ddl, check_fields, fields_of
from .options import Options, read_options
from .reading import BatchQuery
from .streaming import StreamQuery

if TYPE_CHECKING:  # what is used of pyspark, which is the user's own

    class DataSource:
        """A format."""

        options: Mapping[str, str]

    class DataSourceReader:
        """A batch query."""

    class SimpleDataSourceStreamReader:
        """A stream that is read beside the driver."""

    class SupportsTriggerAvailableNow:
        """A stream that can come to an end."""

    class InputPartition:
        """What a task is given."""

else:
    from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition, SimpleDataSourceStreamReader

    try:
        from pyspark.sql.streaming.datasource import SupportsTriggerAvailableNow
    except ImportError:  # before Spark 4.2

        class SupportsTriggerAvailableNow:
            """A stream that can come to an end."""


class StackOneDataSource(DataSource):
    """The format `stackone_lms`."""

    @classmethod
    def name(cls) -> str:
        """Return its name."""
        return "stackone_lms"

    def schema(self) -> str:
        """Return the columns of the list."""
        options = read_options(self.options)
        return as_ddl(fields_of(options.resource, failures=options.on_error == "row"))

    def reader(self, schema: Any) -> DataSourceReader:
        """Return what reads the lists once."""
        options = read_options(self.options).for_batch()
        query = BatchQuery(options, _names(options, schema))
        if not options.pushdown:
            return ListsReader(query)
        if not hasattr(DataSourceReader, "pushFilters"):
            raise ConfigurationError("the option pushdown needs Spark 4.1 or newer")
        return PushingReader(query)

    def simpleStreamReader(self, schema: Any) -> SimpleDataSourceStreamReader:  # noqa: N802 (Spark's name)
        """Return what reads the lists again and again."""
        options = read_options(self.options).for_stream()
        return StreamReader(StreamQuery(options, _names(options, schema)))


def _names(options: Options, schema: Any) -> tuple[str, ...]:
    fields = [Field(field.name, field.dataType.simpleString(), field.nullable) for field in schema.fields]
    return check_fields(options.resource, fields, failures=options.on_error == "row")


class Lists(InputPartition):
    """The lists of a task.

    Args:
        slices: They.
        tasks: How many tasks there are.
    """

    def __init__(self, slices: Sequence[Slice], tasks: int) -> None:
        self.slices, self.tasks = tuple(slices), tasks


class ListsReader(DataSourceReader):
    """A batch query.

    Args:
        query: What it reads.
    """

    def __init__(self, query: BatchQuery) -> None:
        self._query = query

    def partitions(self) -> list[Lists]:
        """Return the lists of each task."""
        tasks = self._query.plan()
        return [Lists(slices, len(tasks)) for slices in tasks] or [Lists((), 1)]

    def read(self, partition: Any) -> Iterator[Any]:
        """Yield the record batches of a task."""
        return self._query.read(partition.slices, partition.tasks)


class PushingReader(ListsReader):
    """A batch query that is narrowed by its filters; under Spark's default settings such a reader is an error."""

    def pushFilters(self, filters: list[Any]) -> list[Any]:  # noqa: N802 (Spark's name)
        """Narrow what is asked for, and return all filters: Spark filters again."""
        self._query.push(filters)
        return filters


class StreamReader(SimpleDataSourceStreamReader, SupportsTriggerAvailableNow):
    """A stream, which is read in one process beside the driver.

    Args:
        query: What it reads.
    """

    def __init__(self, query: StreamQuery) -> None:
        self._query = query

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 (Spark's name)
        """Return where a new stream begins."""
        return self._query.first()

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802 (Spark's name)
        """Come to an end after one round."""
        self._query.finish_soon()

    def read(self, start: dict[str, Any]) -> tuple[Iterator[Any], dict[str, Any]]:
        """Return the next record batches, and the offset behind them."""
        rows, end = self._query.read(start)
        return iter(rows), end

    def readBetweenOffsets(self, start: dict[str, Any], end: dict[str, Any]) -> Iterator[Any]:  # noqa: N802 (Spark's)
        """Return the record batches of a micro-batch once more."""
        return iter(self._query.read_again(start, end))
