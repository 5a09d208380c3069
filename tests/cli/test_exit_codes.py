"""Exit codes are told in three places that agree: classes, the tree in their docstring, the document."""

from __future__ import annotations

import re

from vmm_automation import errors
from vmm_automation.content import content_directory
from vmm_automation.errors import VmmError, error_from_document


def classes(base: type[VmmError] = VmmError) -> dict[str, int]:
    """Those of ``errors.py``: a subclass elsewhere has the code of its parent."""
    found = {base.__name__: base.exit_code} if base.__module__ == errors.__name__ else {}
    for child in base.__subclasses__():
        found |= classes(child)
    return found


def test_docstring_has_every_class_with_its_code() -> None:
    """A reader of the source sees the whole tree at its top."""
    rows = re.findall(r"^ +(?:\| +)?(?:\+-- )?([A-Z]\w+) +(\d+)  ", str(errors.__doc__), re.MULTILINE)
    assert {name: int(code) for name, code in rows} == classes()


def test_document_has_every_class_with_its_code() -> None:
    """An operator finds each in docs/exit-codes.md, with something to do."""
    text = (content_directory() / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert {name: int(code) for code, name, _meaning, _todo in rows} == classes()


def test_class_survives_the_way_through_a_document() -> None:
    """What a playbook's failed task says becomes the same error with the same code again."""
    for name, code in classes().items():
        document = {"class": name, "message": "m", "hint": "h", "details": {"a": 1}}
        error = error_from_document(document)
        assert (type(error).__name__, error.exit_code) == (name, code)
        assert error.to_document() == {**document, "exit_code": code}


def test_subclasses_elsewhere_keep_the_code_of_their_parent() -> None:
    """A code means one thing: nothing outside errors.py gives itself a number."""
    for name in classes():
        parent = getattr(errors, name)
        for child in parent.__subclasses__():
            if child.__module__ != errors.__name__:
                assert child.exit_code == parent.exit_code
