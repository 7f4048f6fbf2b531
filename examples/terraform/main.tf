# The templates of deploy/ by Terraform, which leaves their contents to CloudFormation: the roles,
# the worker, and what another account needs.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

provider "aws" {
  region = var.region
}

# Another account that the worker covers.
provider "aws" {
  alias  = "member"
  region = var.region
  dynamic "assume_role" {
    for_each = var.member_role_arn == "" ? [] : [var.member_role_arn]
    content {
      role_arn = assume_role.value
    }
  }
}

# It is longer than CloudFormation takes in a request. Its name follows its contents, so that a new
# text is a change of the stack.
resource "aws_s3_object" "worker_template" {
  bucket = var.template_bucket
  key    = "tagwarden-${filesha256("${path.module}/../../deploy/tagwarden.yaml")}.yaml"
  source = "${path.module}/../../deploy/tagwarden.yaml"
}

# Who may do what, and the role by which CloudFormation makes the worker.
resource "aws_cloudformation_stack" "access" {
  name          = "${var.stack}-access"
  template_body = file("${path.module}/../../deploy/access.yaml")
  capabilities  = ["CAPABILITY_IAM"]
  tags          = var.tags
  parameters = {
    WorkerStackName        = var.stack
    TemplateBucket         = var.template_bucket
    ImageRepository        = var.image_repository
    PermissionsBoundaryArn = var.permissions_boundary_arn
  }
}

# Terraform gives every parameter at each change, and what is not among these has its default again.
# So nothing else may change the stack: neither `deploy/stack.sh` nor a pipeline.
resource "aws_cloudformation_stack" "worker" {
  name         = var.stack
  template_url = "https://${var.template_bucket}.s3.${var.region}.amazonaws.com/${aws_s3_object.worker_template.key}"
  iam_role_arn = aws_cloudformation_stack.access.outputs["CloudFormationRoleArn"]
  capabilities = ["CAPABILITY_IAM"]
  tags         = var.tags
  parameters = {
    Mode                   = var.mode
    WorkerImage            = var.worker_image
    ImageRepositoryArns    = var.image_repository_arn
    VpcId                  = var.vpc_id
    SubnetIds              = join(",", var.subnet_ids)
    ConfigParameterName    = var.config_parameter_name
    ConfigVersion          = var.config_version
    NoticeEmail            = var.notice_email
    AlarmEmail             = var.alarm_email
    MemberAccounts         = var.member_account_id
    MemberExternalId       = var.member_account_id == "" ? "" : var.external_id
    PermissionsBoundaryArn = var.permissions_boundary_arn
  }
  timeouts {
    create = "60m"
    update = "60m"
  }
}

resource "aws_cloudformation_stack" "member" {
  count         = var.member_account_id == "" ? 0 : 1
  provider      = aws.member
  name          = "${var.stack}-member"
  template_body = file("${path.module}/../../deploy/member.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  tags          = var.tags
  parameters = {
    Mode          = var.mode
    EventBusArn   = aws_cloudformation_stack.worker.outputs["EventBusArn"]
    WorkerRoleArn = aws_cloudformation_stack.worker.outputs["TaskRoleArn"]
    ExternalId    = var.external_id
  }
}

output "queue_url" {
  description = "The queue of the worker."
  value       = aws_cloudformation_stack.worker.outputs["QueueUrl"]
}

output "deployer_policy_arn" {
  description = "The policy of those who deploy."
  value       = aws_cloudformation_stack.access.outputs["DeployerPolicyArn"]
}
