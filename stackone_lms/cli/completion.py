"""What a shell offers while a command line is typed. Nothing here asks the network."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from .declared import model_of, narrowing_names

_VERBS = {"batch-upsert": "batch_upsert", "run": "list"}


def _verb(context: typer.Context) -> str:
    name = context.command.name or ""
    return _VERBS.get(name, name)


def profiles(incomplete: str) -> list[str]:
    """Return the names of the profiles."""
    from ..errors import ConfigurationError  # noqa: PLC0415 (not needed for --help)
    from ..profiles import config_path, read_tables  # noqa: PLC0415

    try:
        return sorted(name for name in read_tables(config_path()) or () if name.startswith(incomplete))
    except ConfigurationError:
        return []


def accounts(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the accounts that were seen last, with their names."""
    from .known_accounts import known  # noqa: PLC0415 (not needed for --help)

    seen = known(context.params.get("profile"), context.params.get("base_url"))
    called = {
        one.id: " · ".join(part for part in (one.origin_owner_name, one.label, one.provider) if part)
        for one in seen.values()
    }
    return [(id, name) for id, name in called.items() if id.startswith(incomplete)]


def resources(context: typer.Context, incomplete: str) -> list[str]:
    """Return the resources that the command works on."""
    from ..api.operations import operations  # noqa: PLC0415 (not needed for --help)

    verb = _verb(context)
    return [known.resource for known in operations() if known.verb == verb and known.resource.startswith(incomplete)]


def _chosen(context: typer.Context) -> Iterator[str]:
    given = context.params.get("resource") or context.params.get("resources") or ()
    yield from [given] if isinstance(given, str) else given
    yield from context.args  # where they stand while an option has no value yet


def fields(context: typer.Context, incomplete: str) -> list[str]:
    """Return the fields of the resource; of several, separated by commas, the last is completed."""
    from ..api.operations import operations  # noqa: PLC0415

    before, comma, begun = incomplete.rpartition(",")
    chosen = set(_chosen(context))
    models = [model_of(known) for known in operations() if known.verb == "get" and known.resource in chosen]
    names = dict.fromkeys(name for model in models for name in model.__struct_encode_fields__)
    return [f"{before}{comma}{name}" for name in names if name.startswith(begun)]


def filters(context: typer.Context, incomplete: str) -> list[str]:
    """Return the filters of the list, with their `=`."""
    from ..api.operations import operations  # noqa: PLC0415

    chosen = set(_chosen(context))
    found = [known for known in operations() if known.verb == "list" and known.resource in chosen]
    names = dict.fromkeys(name for known in found for name in sorted(narrowing_names(known)))
    return [f"{name}=" for name in names if name.startswith(incomplete)]
