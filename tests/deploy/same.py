"""Compares the templates that `cdk synth` wrote with those of deploy/. Prints what differs.

    same.py CDK.OUT NAME=FILE...

NAME is a stack of the app. What counts is what CloudFormation reads: long and short forms of its
functions are the same, and so are a number and its text.
"""

import json
import pathlib
import sys

import template


def normal(value):
    if isinstance(value, dict):
        attribute = value.get("Fn::GetAtt")
        if isinstance(attribute, str):
            value = {"Fn::GetAtt": attribute.split(".", 1)}
        return {name: normal(one) for name, one in value.items()}
    if isinstance(value, list):
        return [normal(one) for one in value]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def differences(left, right, where):
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() | right.keys()):
            if name not in left or name not in right:
                yield f"{where}/{name}: only in {'deploy/' if name in left else 'the CDK'}"
            else:
                yield from differences(left[name], right[name], f"{where}/{name}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, pair in enumerate(zip(left, right)):
            yield from differences(*pair, f"{where}/{number}")
    elif left != right:
        yield f"{where}: {left!r} in deploy/, {right!r} in the CDK"


def main():
    folder, *names = sys.argv[1:]
    found, compared = [], 0
    for name, path in (one.split("=") for one in names):
        ours = normal(template.load(path))
        theirs = normal(json.loads((pathlib.Path(folder) / f"{name}.template.json").read_text()))
        found += differences(ours, theirs, name)
        compared += len(theirs["Resources"])
    print(json.dumps({"differences": found, "resources": compared}))


main()
