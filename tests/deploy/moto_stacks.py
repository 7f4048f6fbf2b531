"""Creates the stacks in moto, which never calls AWS, and registers the task definition. Prints the
results as JSON.

    moto_stacks.py tagwarden.yaml member.yaml task-definition.json
"""

import json
import os
import pathlib
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

ACCOUNT, REGION = cloudformation.ACCOUNT, cloudformation.REGION
OTHER_REGION = "us-east-1"
# The Region that is called.
here = REGION


def alarm(properties):
    numbers = {"Threshold": float(properties["Threshold"]), "EvaluationPeriods": int(properties["EvaluationPeriods"])}
    call("cloudwatch").put_metric_alarm(**properties | numbers)


def queue_policy(properties):
    for url in properties["Queues"]:
        attributes = {"Policy": json.dumps(properties["PolicyDocument"])}
        call("sqs").set_queue_attributes(QueueUrl=url, Attributes=attributes)


def topic_policy(properties):
    for arn in properties["Topics"]:
        policy = json.dumps(properties["PolicyDocument"])
        call("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)


def bucket_policy(properties):
    policy = json.dumps(properties["PolicyDocument"])
    call("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)


def bus_policy(properties):
    statement = properties["Statement"] | {"Sid": properties["StatementId"]}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    call("events").put_permission(EventBusName=properties["EventBusName"], Policy=json.dumps(policy))


def scalable_target(properties):
    capacity = {name: int(properties[name]) for name in ("MinCapacity", "MaxCapacity")}
    call("application-autoscaling").register_scalable_target(**properties | capacity)


def scaling_policy(properties):
    tracking = dict(properties["TargetTrackingScalingPolicyConfiguration"])
    tracking["TargetValue"] = float(tracking["TargetValue"])
    call("application-autoscaling").put_scaling_policy(
        PolicyName=properties["PolicyName"],
        PolicyType=properties["PolicyType"],
        ServiceNamespace="ecs",
        ResourceId="service/tagwarden/tagwarden",
        ScalableDimension="ecs:service:DesiredCount",
        TargetTrackingScalingPolicyConfiguration=tracking,
    )


def metric_filter(properties):
    given = dict(properties)
    transformations = [
        {name[0].lower() + name[1:]: value for name, value in one.items()} for one in given["MetricTransformations"]
    ]
    call("logs").put_metric_filter(
        filterName=given["MetricTransformations"][0]["MetricName"],
        logGroupName=given["LogGroupName"],
        filterPattern=given["FilterPattern"],
        metricTransformations=transformations,
    )


def pull_time_exclusion(properties):
    """moto's ECR lacks this call, so only its parameters are checked."""
    call("ecr").meta.service_model.operation_model("RegisterPullTimeUpdateExclusion")
    assert properties["PrincipalArn"].startswith(f"arn:aws:iam::{ACCOUNT}:role/"), properties


def schedule(properties):
    call("scheduler").create_schedule(**properties)


# moto's CloudFormation lacks these types, so the calls that CloudFormation would make create them.
LACKING = {
    "AWS::ApplicationAutoScaling::ScalableTarget": scalable_target,
    "AWS::ApplicationAutoScaling::ScalingPolicy": scaling_policy,
    "AWS::CloudWatch::Alarm": alarm,
    "AWS::ECR::PullTimeUpdateExclusion": pull_time_exclusion,
    "AWS::Events::EventBusPolicy": bus_policy,
    "AWS::Logs::MetricFilter": metric_filter,
    "AWS::S3::BucketPolicy": bucket_policy,
    "AWS::Scheduler::Schedule": schedule,
    "AWS::SNS::TopicPolicy": topic_policy,
    "AWS::SQS::QueuePolicy": queue_policy,
}


def secret(properties):
    generated = call("secretsmanager").get_random_password(**properties["GenerateSecretString"])
    text = generated["RandomPassword"]
    return call("secretsmanager").create_secret(Name="made-by-the-stack", SecretString=text)["ARN"]


# The same, for types that other resources name.
NAMED = {"AWS::SecretsManager::Secret": secret}


def call(service):
    return boto3.client(service, here)


class Made(cloudformation.Stack):
    """A stack with some resources that exist already."""

    there = {}

    def physical(self, name, attribute):
        if attribute == "Ref" and name in self.there:
            return self.there[name]
        return super().physical(name, attribute)


def pruned(node, stack):
    """The same without those members of lists that are left out, which moto takes for something."""
    if isinstance(node, dict):
        return {key: pruned(value, stack) for key, value in node.items()}
    if not isinstance(node, list):
        return node
    nothing = {"Ref": "AWS::NoValue"}

    def is_left_out(one):
        if not isinstance(one, dict) or "Fn::If" not in one:
            return False
        condition, then, otherwise = one["Fn::If"]
        return (then if stack.holds(condition) else otherwise) == nothing

    return [pruned(one, stack) for one in node if not is_left_out(one)]


def create(name, path, parameters):
    """Creates a stack. The resources that moto does not support are created last."""
    body = cloudformation.load(path)
    resources = body["Resources"]
    stack = Made(body, parameters | {"AWS::Region": here}, name)
    assert stack.broken_rules() == [], stack.broken_rules()
    known = {one: made for one, made in resources.items() if made["Type"] not in LACKING | NAMED}
    # moto passes the bus itself to the rule instead of its name.
    text = json.dumps(body | {"Resources": pruned(known, stack)}).replace('{"Ref": "EventBus"}', f'"{name}"')
    for one, made in stack.made()["resources"].items():
        if made["Type"] == "AWS::CloudWatch::Alarm":
            text = text.replace(f'{{"Ref": "{one}"}}', json.dumps(made["Properties"]["AlarmName"]))
        if made["Type"] in NAMED:
            text = text.replace(f'{{"Ref": "{one}"}}', json.dumps(NAMED[made["Type"]](made["Properties"])))
    client = call("cloudformation")
    client.create_stack(
        StackName=name,
        TemplateBody=text,
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    there = client.describe_stack_resources(StackName=name)["StackResources"]
    there = {one["LogicalResourceId"]: one.get("PhysicalResourceId") for one in there if "LogicalResourceId" in one}
    # A resource that is only represented by its name has an empty record.
    stack.there = {key: value for key, value in there.items() if value}
    for one, made in stack.made()["resources"].items():
        if made["Type"] in LACKING:
            LACKING[made["Type"]](made["Properties"])
    answer = client.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in answer.get("Outputs", [])}
    left_out = {made["Type"] for one, made in resources.items() if one not in known}
    return {"status": answer["StackStatus"], "made": sorted(there), "made_by_calls": sorted(left_out), "outputs": outputs}


def network():
    """The resources that an installer has already: a network and a load balancer."""
    ec2, elb = call("ec2"), call("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = []
    for at, zone in enumerate("ab"):
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{at}.0/24", AvailabilityZone=REGION + zone)
        subnets.append(subnet["Subnet"]["SubnetId"])
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    groups = [
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        for name in ("balancer", "prometheus")
    ]
    balancer = elb.create_load_balancer(Name="balancer", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
    listener = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    return {
        "VpcId": vpc,
        "SubnetIds": ",".join(subnets),
        "CreateVpcEndpoints": "true",
        "RouteTableIds": table,
        "NatSubnetId": subnets[0],
        "NatRouteTableId": table,
        "ListenerArn": listener["Listeners"][0]["ListenerArn"],
        "LoadBalancerSecurityGroupId": groups[0],
        "PrometheusSecurityGroupId": groups[1],
    }


def delivered(queue_url, bus, event, region=REGION):
    """The messages of the queue after an event is put on a bus of a Region."""
    entry = {
        "EventBusName": bus,
        "Source": event["source"],
        "DetailType": event["detail-type"],
        "Detail": json.dumps(event["detail"]),
    }
    boto3.client("events", region).put_events(Entries=[entry])
    messages = call("sqs").receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    messages = messages.get("Messages", [])
    for message in messages:
        call("sqs").delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return len(messages)


def restore(outputs):
    """The key and the senders of the task, and the id of the operators' role."""
    secret = call("secretsmanager").get_secret_value(SecretId=outputs["RestoreKeyArn"])
    task = call("ecs").describe_task_definition(taskDefinition="tagwarden")["taskDefinition"]
    worker = task["containerDefinitions"][0]
    variables = {one["name"]: one["value"] for one in worker["environment"] if one}
    role = call("iam").get_role(RoleName=outputs["OperatorRoleArn"].rsplit("/", 1)[1])["Role"]
    senders = [variables[f"TAGWARDEN__RESTORE__{name}"].split(",") for name in ("SENDERS", "HOLD_SENDERS")]
    return {
        "key": secret["SecretString"],
        "key_is_handed_over": worker["secrets"][0]["valueFrom"] == outputs["RestoreKeyArn"],
        "operators_may_restore_and_hold": all(role["RoleId"] in ids for ids in senders),
    }


def main():
    global here
    central, member, task = sys.argv[1:]
    repository = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/tagwarden"
    options = {
        "Mode": "enforce",
        "WorkerImage": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/tagwarden:0.1.0",
        "ImageRepositoryArns": repository,
        "NoticeEmail": "team@example.com",
        "AlarmEmail": "on-call@example.com",
        "MemberAccounts": "444455556666,777788889999",
        "MemberExternalId": "external",
        "ConfigParameterName": "/tagwarden/config",
        "OperatorArns": f"arn:aws:iam::{ACCOUNT}:role/on-call",
    }
    made = create("tagwarden", central, network() | options)
    outputs = made["outputs"]
    event = {"source": "aws.ecr", "detail-type": "ECR Image Scan", "detail": {"repository-name": "team/app"}}
    report = {
        "central": made,
        "delivered_from_default_bus": delivered(outputs["QueueUrl"], "default", event),
        "delivered_from_own_bus": delivered(outputs["QueueUrl"], "tagwarden", event),
    }
    report["restore"] = restore(outputs)
    trust = {"WorkerRoleArn": outputs["TaskRoleArn"], "ExternalId": "external"}
    forward = {"Mode": "enforce", "EventBusArn": outputs["EventBusArn"]}
    here = OTHER_REGION
    report["member"] = create("tagwarden-member", member, trust | forward)
    names = [one["AlarmName"] for one in call("cloudwatch").describe_alarms()["MetricAlarms"]]
    report["alarms_of_member"] = sorted(names)
    here = REGION
    report["delivered_from_member"] = delivered(outputs["QueueUrl"], "default", event, OTHER_REGION)
    made = call("scheduler").get_schedule(Name="tagwarden-sweep")
    report["schedule"] = {name: made[name] for name in ("ScheduleExpression", "FlexibleTimeWindow", "State")}
    report["schedule"]["sends_to"] = made["Target"]["Arn"]
    names = [one["AlarmName"] for one in call("cloudwatch").describe_alarms()["MetricAlarms"]]
    report["alarms"] = sorted(name for name in names if not name.startswith("TargetTracking-"))
    call("ecs").register_task_definition(**json.loads(pathlib.Path(task).read_text()))
    print(json.dumps(report, indent=2))


with mock_aws():
    main()
