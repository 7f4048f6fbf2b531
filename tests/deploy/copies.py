"""Keeps the copies of deploy/fluent-bit.conf and deploy/collector.yaml in deploy/tagwarden.yaml.

Without an argument, names the copies that differ and exits with 1. With --update, writes them
again. A copy has neither the comments nor the empty lines of its file.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "deploy/tagwarden.yaml"
COPIES = {"ROUTER_CONFIG": "fluent-bit.conf", "AOT_CONFIG_CONTENT": "collector.yaml"}


def carried(name):
    """The copy of a file of deploy/ in the template."""
    lines = (ROOT / "deploy" / name).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def with_copy(template, variable, lines):
    """The template with these lines as the value of a variable."""
    head = re.search(rf"^( *)- Name: {variable}\n *Value: \|\n", template, re.M)
    indent = head.group(1) + "    "
    rest = template[head.end() :]
    body = re.match(rf"(?:{indent}.*\n)*", rest).end()
    copy = "".join(f"{indent}{line}\n" for line in lines)
    return template[: head.end()] + copy + rest[body:]


def main():
    template = updated = TEMPLATE.read_text()
    stale = []
    for variable, name in COPIES.items():
        before = updated
        updated = with_copy(updated, variable, carried(name))
        if updated != before:
            stale.append(f"{variable} is not what deploy/{name} says")
    if "--update" in sys.argv[1:]:
        TEMPLATE.write_text(updated)
    elif stale:
        sys.exit("\n".join(stale + ["python3 tests/deploy/copies.py --update makes them so"]))


main()
