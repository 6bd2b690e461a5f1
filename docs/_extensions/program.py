"""The reference of the command line, made from the program: `.. program-reference::`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from stackone_lms.cli.app import PROGRAM, app


def commands(group: Any, called: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a program and of its groups, each with how it is called; hidden ones are left out."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if getattr(command, "commands", None):
            # What a group does by itself is a hidden command of it.
            yield f"{called} {name}", next((one for one in command.commands.values() if one.hidden), command)
            yield from commands(command, f"{called} {name}")
        else:
            yield f"{called} {name}", command


def reference() -> list[str]:
    """Return the page in reStructuredText: of each command what it does, its arguments and its options."""
    lines: list[str] = []
    for called, command in commands(get_command(app), PROGRAM):
        lines += [called, "-" * len(called), ""]
        for paragraph in inspect.cleandoc(command.help or "").replace("\f", "").split("\n\n"):
            text = " ".join(paragraph.split())
            is_example = text.startswith(f"{PROGRAM} ")
            lines += [*(["::", "", f"   {text}"] if is_example else [text.replace("*", r"\*")]), ""]
        rows = [row for parameter in command.params if (row := _row(parameter)) is not None]
        if rows:
            lines += [".. list-table::", "   :widths: 38 62", ""]
            for name, text in rows:
                lines += [f"   * - {name}", f"     - {text}"]
            lines.append("")
    return lines


def _row(parameter: Any) -> tuple[str, str] | None:
    if getattr(parameter, "hidden", False) or parameter.name == "help":
        return None
    metavar = parameter.metavar or ""
    if parameter.param_type_name == "argument":
        name = f"``{metavar or parameter.name.upper()}``"
    else:
        flag = getattr(parameter, "is_flag", False)
        name = ", ".join(f"``{o}{'' if flag or not metavar else ' ' + metavar}``" for o in parameter.opts)
        name += "".join(f", ``{other}``" for other in parameter.secondary_opts)
    text = " ".join((getattr(parameter, "help", None) or "").split()).replace("*", r"\*").replace("|", r"\|")
    default = parameter.default
    # No comparison with False and True: 0 and 1 are equal to them.
    nothing = default is None or isinstance(default, bool) or default in ((), []) or callable(default)
    if not nothing and getattr(parameter, "show_default", False):
        text += f" Default: ``{default}``."
    return name, text or "\\ "


class ProgramReference(SphinxDirective):
    """Documents every command of the program."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each command."""
        return self.parse_text_to_nodes("\n".join(reference()), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("program-reference", ProgramReference)
    return {"parallel_read_safe": True}
