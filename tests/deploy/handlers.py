"""Prints, as JSON, the IAM actions by which CloudFormation makes, reads, changes and deletes each
type of resource of a template, as its resource types declare them. cfn-lint carries those.

    handlers.py FILE
"""

import json
import sys

import template
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

HANDLERS = ("create", "read", "update", "delete")


def main():
    actions = {}
    for kind in {one["Type"] for one in template.load(sys.argv[1])["Resources"].values()}:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        handlers = schema.get("handlers") or sys.exit(f"nothing is known of {kind}")
        called = (handlers.get(name, {}).get("permissions", []) for name in HANDLERS)
        actions[kind] = sorted({action for some in called for action in some})
    print(json.dumps(actions))


main()
