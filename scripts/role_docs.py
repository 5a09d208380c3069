#!/usr/bin/env python3
"""Writes the README.md of every role from its argument specs; ``--check`` only tells what is out of date.

Example: scripts/role_docs.py --check
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import jinja2
import yaml

TOP = Path(__file__).resolve().parents[1]
TEMPLATE = """\
# Role `{{ role }}`

{{ spec.short_description }}

| variable | type | default | meaning |
|---|---|---|---|
{% for name, option in spec.options.items() -%}
| `{{ name }}` | {{ option | type_of }} | {{ option | default_of }} | {{ option.description | words }} |
{% endfor %}
Playbooks that use it: {% for name in playbooks %}`{{ name }}`{{ ", " if not loop.last }}{% endfor %}.

*Written by `scripts/role_docs.py` from `meta/argument_specs.yml`; change it there.*
"""


def words(text: str) -> str:
    """A description on one line of a table, with Ansible's markup as Markdown's."""
    return re.sub(r"C\(([^)]*)\)", r"`\1`", " ".join(text.split())).replace("|", "\\|")


def type_of(option: dict[str, Any]) -> str:
    """The type, and the choices where there are any."""
    kind = f"list of {option['elements']}" if option["type"] == "list" else option["type"]
    choices = ", ".join(f"`{choice}`" for choice in option.get("choices", []))
    return f"{kind}: {choices}" if choices else kind


def default_of(option: dict[str, Any]) -> str:
    """The default as it is written in YAML."""
    if option.get("required"):
        return "**required**"
    value = option["default"]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "*empty*"


def readme(role: Path) -> str:
    """What the README.md of a role should hold."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    using = [
        path.stem
        for path in sorted((TOP / "playbooks").glob("*.yml"))
        if re.search(rf"role: {role.name}$", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    engine = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    engine.filters |= {"words": words, "type_of": type_of, "default_of": default_of}
    template = engine.from_string(TEMPLATE)
    return template.render(role=role.name, spec=specs["argument_specs"]["main"], playbooks=using)


def main() -> int:
    """Write, or with ``--check`` compare; status 1 if a README.md is not as it should be."""
    stale = []
    for role in sorted(path.parent.parent for path in TOP.glob("roles/*/meta/argument_specs.yml")):
        target, text = role / "README.md", readme(role)
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif not target.is_file() or target.read_text(encoding="utf-8") != text:
            stale.append(str(target.relative_to(TOP)))
    if stale:
        print(f"Not up to date: {', '.join(stale)}. Run scripts/role_docs.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
