"""What the recipes for schedulers give the program is a command that it takes."""

from __future__ import annotations

import re
from pathlib import Path

from stackone_lms.export import verify
from stackone_lms.sandbox import Sandbox

from ..cli.program import environment, program

RECIPES = Path(__file__).parents[2] / "docs" / "examples" / "schedulers"


def test_the_cronjob_exports(tmp_path: Path) -> None:
    text = (RECIPES / "cronjob.yaml").read_text("utf-8")
    (block,) = re.findall(r"args:\n((?: +- \S+\n)+)", text)
    arguments = [word.replace("/data", str(tmp_path)) for word in re.findall(r"- (\S+)", block)]
    with Sandbox.in_thread(accounts=2, users=5, completions=5) as sandbox:
        env = environment(STACKONE_API_KEY=sandbox.api_key, STACKONE_BASE_URL=sandbox.url)
        ended = program(*arguments, env=env)
    assert ended.code == 0, ended.err
    assert verify(tmp_path / "lms").records == 20
    assert ended.err.startswith('{"time"')
