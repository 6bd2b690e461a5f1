"""What a shell offers while a command line is typed."""

from __future__ import annotations

import pytest

from .program import Environment, environment, program


def offered(*words: str, env: Environment | None = None) -> list[str]:
    """Return what bash would be offered for the last of the words."""
    asked = {
        "_STACKONE_LMS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["stackone-lms", *words]),
        "COMP_CWORD": str(len(words)),
    }
    ended = program(env=(env or environment()) | asked)
    assert (ended.code, ended.err) == (0, "")
    return ended.out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["up"], ["upsert", "update"]),
        (["get", "us"], ["users.assignments", "users.completions", "users"]),
        (["create", ""], ["collections", "users.assignments", "users.completions"]),
        (["batch-upsert", "c"], ["content", "courses"]),
        (["list", "courses", "--field", "ti"], ["title"]),
        (["get", "courses", "--field", "id,ti"], ["id,title"]),
        (["list", "assignments", "--filter", ""], ["remote_user_id=", "status=", "updated_after=", "user_id="]),
        (["list", "--filter", ""], []),
    ],
)
def test_offers(words: list[str], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_it_can_be_installed() -> None:
    assert "--install-completion" in program("--help", env=environment()).out
