"""Deploys deploy/member.yaml as a StackSet of an organisation in moto, which never calls AWS. Prints,
as JSON, what each account and Region has afterwards.

    moto_organisation.py member.yaml

The organisation has the worker's account and two others in one unit, and one more outside of it.
"""

import json
import os
import sys

import template as cloudformation

os.environ |= {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_EC2_METADATA_DISABLED": "true",
}

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402

REGIONS = ["eu-west-1", "us-east-1"]
# moto's CloudFormation lacks these.
LACKING = ("AWS::CloudWatch::Alarm", "AWS::ECR::PullTimeUpdateExclusion", "AWS::SQS::QueuePolicy")


def body(path):
    """The template without the resources that moto lacks, and with the names of its alarms."""
    template = cloudformation.load(path)
    resources = template["Resources"]
    known = {name: made for name, made in resources.items() if made["Type"] not in LACKING}
    text = json.dumps(template | {"Resources": known})
    for name, made in resources.items():
        if made["Type"] == "AWS::CloudWatch::Alarm":
            text = text.replace(json.dumps({"Ref": name}), json.dumps(made["Properties"]["AlarmName"]))
    return text


def of_account(service, region, account):
    role = f"arn:aws:iam::{account}:role/anything"
    keys = boto3.client("sts", region).assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return boto3.client(
        service,
        region,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


def main():
    organizations = boto3.client("organizations", REGIONS[0])
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    unit = organizations.create_organizational_unit(ParentId=root, Name="images")["OrganizationalUnit"]["Id"]
    accounts = {}
    for name in ("worker", "one", "two", "outside"):
        made = organizations.create_account(Email=f"{name}@example.com", AccountName=name)
        accounts[name] = made["CreateAccountStatus"]["AccountId"]
        if name != "outside":
            organizations.move_account(AccountId=accounts[name], SourceParentId=root, DestinationParentId=unit)
    worker = accounts["worker"]
    parameters = {
        "EventBusArn": f"arn:aws:events:{REGIONS[0]}:{worker}:event-bus/tagwarden",
        "WorkerRoleArn": f"arn:aws:iam::{worker}:role/tagwarden-TaskRole",
        "ExternalId": "external",
        "Mode": "audit",
    }
    client = boto3.client("cloudformation", REGIONS[0])
    client.create_stack_set(
        StackSetName="tagwarden-member",
        TemplateBody=body(sys.argv[1]),
        PermissionModel="SERVICE_MANAGED",
        AutoDeployment={"Enabled": True, "RetainStacksOnAccountRemoval": False},
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    client.create_stack_instances(
        StackSetName="tagwarden-member",
        DeploymentTargets={"OrganizationalUnitIds": [unit]},
        Regions=REGIONS,
    )
    report = {}
    for name, account in accounts.items():
        roles = of_account("iam", REGIONS[0], account).list_roles()["Roles"]
        named = [role["RoleName"] for role in roles if role["RoleName"] == "tagwarden-member"]
        rules = {
            region: len(of_account("events", region, account).list_rules()["Rules"]) for region in REGIONS
        }
        report[name] = {"roles": len(named), "rules": rules}
    print(json.dumps(report, indent=2))


with mock_aws():
    main()
