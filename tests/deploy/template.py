"""Reads a CloudFormation template and prints what CloudFormation would create from it.

    template.py FILE [NAME=VALUE ...]                    the resources and outputs, as JSON
    template.py --task-definition FILE [NAME=VALUE ...]  the task definition for RegisterTaskDefinition

AWS::Region=VALUE is for other Regions than eu-west-1.
"""

import json
import pathlib
import re
import sys

import yaml

ACCOUNT = "111122223333"
REGION = "eu-west-1"
STACK = "tagwarden"
PARTITIONS = {"cn-": ("aws-cn", "amazonaws.com.cn"), "us-gov-": ("aws-us-gov", "amazonaws.com")}
NONE = object()


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", short_form)


def load(path):
    return yaml.load(pathlib.Path(path).read_text(), Loader)  # noqa: S506 (a safe loader)


class Stack:
    """A template with its parameters."""

    def __init__(self, template, given, name=STACK):
        given = dict(given)
        self.template = template
        self.region = given.pop("AWS::Region", REGION)
        self.name = given.pop("AWS::StackName", name)
        others = (names for start, names in PARTITIONS.items() if self.region.startswith(start))
        self.partition, self.suffix = next(others, ("aws", "amazonaws.com"))
        self.pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": self.region,
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": self.suffix,
            "AWS::StackName": self.name,
        }
        self.parameters = {}
        unknown = set(given) - set(template["Parameters"])
        assert not unknown, f"no such parameters: {unknown}"
        for name, parameter in template["Parameters"].items():
            self.parameters[name] = self.parameter(name, parameter, given.get(name, parameter.get("Default")))

    @staticmethod
    def parameter(name, parameter, value):
        assert value is not None, f"{name} has no default"
        value = str(value)
        many = parameter["Type"] == "CommaDelimitedList" or parameter["Type"].startswith("List<")
        values = value.split(",") if many else [value]
        for one in values:
            pattern = parameter.get("AllowedPattern")
            assert pattern is None or re.fullmatch(pattern, one), f"{name}: {one} is not {pattern}"
            allowed = parameter.get("AllowedValues")
            assert allowed is None or one in [str(value) for value in allowed], f"{name}: {one} is not one of {allowed}"
            assert float(one) >= parameter.get("MinValue", float("-inf")) if parameter["Type"] == "Number" else True, name
        return values if many else value

    def holds(self, condition):
        return self.value(self.template["Conditions"][condition])

    def broken_rules(self):
        """The descriptions of the assertions that these parameters break."""
        broken = []
        for rule in self.template.get("Rules", {}).values():
            if self.value(rule["RuleCondition"]):
                assertions = rule["Assertions"]
                broken += [one["AssertDescription"] for one in assertions if not self.value(one["Assert"])]
        return broken

    def value(self, node):
        """A value with its functions evaluated. NONE is a value that is left out."""
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not NONE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            function = getattr(self, "fn_" + name.removeprefix("Fn::").lower(), None)
            if function and (name.startswith("Fn::") or name in ("Ref", "Condition")):
                return function(argument)
        values = {name: self.value(value) for name, value in node.items()}
        return {name: value for name, value in values.items() if value is not NONE}

    def fn_condition(self, name):
        # As a member of a policy statement, Condition is not a function.
        return self.holds(name) if isinstance(name, str) else {"Condition": self.value(name)}

    def fn_ref(self, name):
        if name == "AWS::NoValue":
            return NONE
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        return self.physical(name, "Ref")

    def fn_getatt(self, argument):
        return self.physical(*argument)

    def fn_if(self, argument):
        condition, then, otherwise = argument
        return self.value(then if self.holds(condition) else otherwise)

    def fn_equals(self, argument):
        left, right = self.value(argument)
        return str(left) == str(right)

    def fn_not(self, argument):
        return not self.value(argument)[0]

    def fn_and(self, argument):
        return all(self.value(argument))

    def fn_or(self, argument):
        return any(self.value(argument))

    def fn_join(self, argument):
        separator, values = argument
        return separator.join(map(str, self.value(values)))

    def fn_split(self, argument):
        separator, text = argument
        return self.value(text).split(separator)

    def fn_select(self, argument):
        index, values = argument
        return self.value(values)[int(index)]

    def fn_findinmap(self, argument):
        name, first, second = self.value(argument)
        return self.template["Mappings"][name][first][second]

    def fn_sub(self, argument):
        text, names = argument if isinstance(argument, list) else (argument, {})

        def replaced(match):
            name = match.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in names:
                return str(self.value(names[name]))
            reference = {"Fn::GetAtt": name.split(".", 1)} if "." in name else {"Ref": name}
            return str(self.value(reference))

        return re.sub(r"\$\{([^}]+)\}", replaced, text)

    def physical(self, name, attribute):
        """A reference to a resource, as it would look in this account."""
        resource = self.template["Resources"][name]
        condition = resource.get("Condition")
        assert condition is None or self.holds(condition), f"{name} is not there"
        kind, own = resource["Type"], self.value(resource.get("Properties", {}))
        service = {"Logs": "logs", "SQS": "sqs", "SNS": "sns", "Events": "events", "ECS": "ecs", "IAM": "iam"}
        service |= {"SecretsManager": "secretsmanager"}
        service = service.get(kind.split("::")[1], "none")

        def arn(rest):
            region = "" if service == "iam" else self.region
            return f"arn:{self.partition}:{service}:{region}:{ACCOUNT}:{rest}"

        match kind, attribute:
            case "AWS::SQS::Queue", "Ref":
                return f"https://sqs.{self.region}.{self.suffix}/{ACCOUNT}/{own['QueueName']}"
            case "AWS::SQS::Queue", "Arn":
                return arn(own["QueueName"])
            case "AWS::SQS::Queue", "QueueName":
                return own["QueueName"]
            case "AWS::SNS::Topic", "Ref":
                return arn(own["TopicName"])
            case "AWS::Logs::LogGroup", "Ref":
                return own["LogGroupName"]
            case "AWS::Logs::LogGroup", "Arn":
                return arn(f"log-group:{own['LogGroupName']}:*")
            case "AWS::S3::Bucket", "Ref":
                return f"{self.name}-audit-{ACCOUNT}"
            case "AWS::S3::Bucket", "Arn":
                return f"arn:{self.partition}:s3:::{self.name}-audit-{ACCOUNT}"
            case "AWS::IAM::Role", "Arn":
                return arn(f"role/{own.get('RoleName', f'{self.name}-{name}')}")
            case "AWS::IAM::Role", "RoleId":
                return f"AROAEXAMPLE{name.upper()}"
            case "AWS::SecretsManager::Secret", "Ref":
                return arn(f"secret:{name}-AbCdEf")
            case "AWS::Events::Rule", "Arn":
                bus = own.get("EventBusName")
                return arn(f"rule/{bus}/{name}" if bus else f"rule/{name}")
            case "AWS::Events::EventBus", "Ref":
                return own["Name"]
            case "AWS::Events::EventBus", "Arn":
                return arn(f"event-bus/{own['Name']}")
            case "AWS::ECS::Cluster", "Arn":
                return arn(f"cluster/{own['ClusterName']}")
            case "AWS::ECR::Repository", "Arn":
                return f"arn:{self.partition}:ecr:{self.region}:{ACCOUNT}:repository/{own['RepositoryName']}"
            case "AWS::ECR::Repository", "RepositoryUri":
                return f"{ACCOUNT}.dkr.ecr.{self.region}.{self.suffix}/{own['RepositoryName']}"
            case "AWS::CodeBuild::Project", "Ref":
                return own["Name"]
            case "AWS::CloudWatch::Alarm", "Ref":
                return own["AlarmName"]
            case "AWS::CloudWatch::Alarm", "Arn":
                return f"arn:{self.partition}:cloudwatch:{self.region}:{ACCOUNT}:alarm:{own['AlarmName']}"
            case ("AWS::ECS::Cluster" | "AWS::ECS::Service"), ("Ref" | "Name"):
                return own.get("ClusterName") or own["ServiceName"]
        return f"{name}.{attribute}"

    def made(self):
        """The resources that are created, and the outputs."""

        def present(things):
            return {
                name: {key: self.value(value) for key, value in thing.items() if key != "Condition"}
                for name, thing in things.items()
                if "Condition" not in thing or self.holds(thing["Condition"])
            }

        return {"resources": present(self.template["Resources"]), "outputs": present(self.template["Outputs"])}

    def task_definition(self):
        resources = self.template["Resources"]
        return lowered(self.value(resources["TaskDefinition"]["Properties"]))


def lowered(value):
    """The spelling of the API: members begin with a small letter, variables have text values."""
    if isinstance(value, list):
        return [lowered(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name[0].lower() + name[1:]: lowered(item) for name, item in value.items()}


def main():
    arguments = sys.argv[1:]
    wants_task = "--task-definition" in arguments
    path, *given = [argument for argument in arguments if argument != "--task-definition"]
    stack = Stack(load(path), dict(one.split("=", 1) for one in given))
    broken = stack.broken_rules()
    if broken:
        sys.exit("\n".join(broken))
    print(json.dumps(stack.task_definition() if wants_task else stack.made(), indent=2))


if __name__ == "__main__":
    main()
