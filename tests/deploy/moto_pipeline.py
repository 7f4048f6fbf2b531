"""Creates what deploy/pipeline.yaml describes in moto, which never calls AWS, as far as moto
carries. Prints the types that it lacks, and what was made, as JSON.

    moto_pipeline.py NAME=VALUE...
"""

import json
import os
import sys

import template as cloudformation

os.environ |= {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_EC2_METADATA_DISABLED": "true",
    "MOTO_ACCOUNT_ID": cloudformation.ACCOUNT,
}

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402

# Types that moto's CloudFormation lacks; the calls that CloudFormation would make create the first.
CALLED = {
    "AWS::CodeBuild::Project",
    "AWS::CodePipeline::Pipeline",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
}
LACKING = {"AWS::ECR::SigningConfiguration", "AWS::IAM::OIDCProvider", "AWS::Signer::SigningProfile"}


def call(service):
    return boto3.client(service, cloudformation.REGION)


def made_by_calls(resources):
    names = []
    repository = resources["Repository"]["Properties"]
    # moto's CloudFormation leaves these two out.
    call("ecr").set_repository_policy(
        repositoryName="tagwarden", policyText=json.dumps(repository["RepositoryPolicyText"])
    )
    call("ecr").put_lifecycle_policy(
        repositoryName="tagwarden", lifecyclePolicyText=repository["LifecyclePolicy"]["LifecyclePolicyText"]
    )
    for one in (made for made in resources.values() if made["Type"] == "AWS::CodeBuild::Project"):
        properties = cloudformation.lowered(one["Properties"])
        # The API spells this one differently.
        properties["source"]["buildspec"] = properties["source"].pop("buildSpec")
        # moto asks for a place, which sources and artefacts of CodePipeline do not have.
        properties["source"]["location"] = properties["artifacts"]["location"] = "none"
        names.append(call("codebuild").create_project(**properties)["project"]["name"])
    call("sns").subscribe(**resources["Subscription"]["Properties"])
    for one in (made for made in resources.values() if made["Type"] == "AWS::S3::BucketPolicy"):
        policy = json.dumps(one["Properties"]["PolicyDocument"])
        call("s3").put_bucket_policy(Bucket=one["Properties"]["Bucket"], Policy=policy)
    for one in (made for made in resources.values() if made["Type"] == "AWS::SNS::TopicPolicy"):
        for arn in one["Properties"]["Topics"]:
            policy = json.dumps(one["Properties"]["PolicyDocument"])
            call("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
    for one in (made for made in resources.values() if made["Type"] == "AWS::CodePipeline::Pipeline"):
        properties = cloudformation.lowered(one["Properties"])
        for stage in properties["stages"]:
            for action in stage["actions"]:
                # The spelling of these is the action's own.
                action["configuration"] = {
                    name[0].upper() + name[1:]: str(value) for name, value in action["configuration"].items()
                }
                action["runOrder"] = int(action.get("runOrder", 1))
        names.append(call("codepipeline").create_pipeline(pipeline=properties)["pipeline"]["name"])
    return names


class Made(cloudformation.Stack):
    """The bucket has a name of its own, and so have roles here."""

    def physical(self, name, attribute):
        own = self.template["Resources"][name]
        if own["Type"] == "AWS::IAM::Role" and attribute == "Ref":
            return f"{self.name}-{name}"
        if own["Type"] == "AWS::S3::Bucket" and attribute == "Ref":
            return self.value(own["Properties"]["BucketName"])
        return super().physical(name, attribute)


def main():
    given = dict(one.split("=", 1) for one in sys.argv[1:])
    body = cloudformation.load("deploy/pipeline.yaml")
    stack = Made(body, given, "tagwarden-pipeline")
    assert stack.broken_rules() == [], stack.broken_rules()
    resources = stack.made()["resources"]
    known = {
        name: {key: value for key, value in made.items() if key != "DependsOn"}
        for name, made in resources.items()
        if made["Type"] not in CALLED | LACKING
    }
    for name, one in known.items():
        if one["Type"] == "AWS::IAM::Role":
            one["Properties"]["RoleName"] = f"tagwarden-pipeline-{name}"
    call("cloudformation").create_stack(
        StackName="tagwarden-pipeline", TemplateBody=json.dumps({"Resources": known}), Capabilities=["CAPABILITY_IAM"]
    )
    status = call("cloudformation").describe_stacks()["Stacks"][0]["StackStatus"]
    made = call("cloudformation").describe_stack_resources(StackName="tagwarden-pipeline")["StackResources"]
    called = sorted(made_by_calls(resources))
    report = {
        "status": status,
        "made": sorted(one["ResourceType"] for one in made),
        "wanted": sorted(one["Type"] for one in known.values()),
        "called": called,
        "repository_policy": json.loads(call("ecr").get_repository_policy(repositoryName="tagwarden")["policyText"]),
        "lifecycle_rules": len(
            json.loads(call("ecr").get_lifecycle_policy(repositoryName="tagwarden")["lifecyclePolicyText"])["rules"]
        ),
        "mutability": call("ecr").describe_repositories()["repositories"][0]["imageTagMutability"],
    }
    print(json.dumps(report))


with mock_aws():
    main()
