"""Compares examples/terraform with the templates that it deploys, as python-hcl2 reads it. Prints
what is wrong, as JSON.

    terraform.py

Terraform itself does not run here: neither expressions nor the schema of the provider are checked.
"""

import json
import pathlib
import re

import hcl2
import template

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples/terraform"
# CloudFormation takes longer templates from a bucket only.
IN_A_REQUEST = 51_200


def plain(value):
    """Names without the quotation marks that some versions of the parser keep."""
    if isinstance(value, dict):
        return {plain(name): plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.strip('"') if isinstance(value, str) else value


def blocks(documents, kind):
    for document in documents:
        for one in document.get(kind, []):
            yield from one.items()


def problems():
    texts = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.tf"))}
    everything = "\n".join(texts.values())
    documents = [plain(hcl2.loads(text)) for text in texts.values()]
    variables = dict(blocks(documents, "variable"))
    used = set(re.findall(r"\bvar\.([a-z_]+)", everything))
    for name in sorted(used ^ variables.keys()):
        yield f"variable {name} is {'not declared' if name in used else 'not used'}"
    for name, variable in variables.items():
        if not variable.get("description") or not variable.get("type"):
            yield f"variable {name} has no description or no type"

    files = {}
    stacks = {
        name: stack
        for kind, one in blocks(documents, "resource")
        if kind == "aws_cloudformation_stack"
        for name, stack in one.items()
    }
    for name, stack in stacks.items():
        uploaded = "template_url" in stack
        given = str(stack.get("template_url") or stack.get("template_body"))
        if uploaded:
            key = re.search(r"aws_s3_object\.([a-z_]+)\.key", given).group(1)
            objects = [one for kind, one in blocks(documents, "resource") if kind == "aws_s3_object" and key in one]
            given = str(objects[0][key]["source"])
        files[name] = file = ROOT / "deploy" / re.search(r"deploy/([a-z]+\.yaml)", given).group(1)
        if not uploaded and len(file.read_bytes()) > IN_A_REQUEST:
            yield f"{name}: {file.name} is too long for template_body"
        known = template.load(file)["Parameters"]
        parameters = stack["parameters"]
        for parameter in sorted(parameters.keys() - known.keys()):
            yield f"{name}: {file.name} has no parameter {parameter}"
        for parameter, one in known.items():
            if "Default" not in one and parameter not in parameters:
                yield f"{name}: {file.name} needs {parameter}"
    for name, output in re.findall(r'aws_cloudformation_stack\.([a-z]+)\.outputs\["([A-Za-z]+)"\]', everything):
        if output not in template.load(files[name])["Outputs"]:
            yield f"{name}: {files[name].name} has no output {output}"
    if sorted(one.name for one in files.values()) != ["access.yaml", "member.yaml", "tagwarden.yaml"]:
        yield f"these are deployed: {files}"


print(json.dumps(list(problems())))
