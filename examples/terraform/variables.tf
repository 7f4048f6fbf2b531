variable "region" {
  description = "The Region of the worker."
  type        = string
}

variable "stack" {
  description = "The name of the worker's stack. All that it makes has a name that begins with it."
  type        = string
  default     = "tagwarden"
}

variable "template_bucket" {
  description = "A bucket of yours that the long template goes through."
  type        = string
}

variable "mode" {
  description = "audit: say what would be removed. enforce: remove it."
  type        = string
  default     = "audit"
  validation {
    condition     = contains(["audit", "enforce"], var.mode)
    error_message = "The mode is audit or enforce."
  }
}

variable "worker_image" {
  description = "The image of the worker, by its digest: 111122223333.dkr.ecr.eu-west-1.amazonaws.com/tagwarden@sha256:..."
  type        = string
}

variable "image_repository" {
  description = "The name of the repository of the worker's image."
  type        = string
  default     = "tagwarden"
}

variable "image_repository_arn" {
  description = "Its ARN. The worker leaves its images alone."
  type        = string
}

variable "vpc_id" {
  description = "The network of the tasks."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of two Availability Zones that reach AWS."
  type        = list(string)
}

variable "config_parameter_name" {
  description = "The parameter of Systems Manager with the policy, such as /tagwarden/config. Empty: the defaults."
  type        = string
  default     = ""
}

variable "config_version" {
  description = "The version of that text, which is the last part of the name of its own parameter. Empty: the one without a version."
  type        = string
  default     = ""
}

variable "notice_email" {
  description = "Is told what was removed."
  type        = string
  default     = ""
}

variable "alarm_email" {
  description = "Is told what cannot wait."
  type        = string
  default     = ""
}

variable "member_account_id" {
  description = "Another account whose images the worker covers. Empty: none."
  type        = string
  default     = ""
}

variable "member_role_arn" {
  description = "A role there that may make the stack of deploy/member.yaml."
  type        = string
  default     = ""
}

variable "external_id" {
  description = "What the role there asks the worker for: openssl rand -hex 16."
  type        = string
  default     = ""
  sensitive   = true
}

variable "permissions_boundary_arn" {
  description = "The permissions boundary of all roles. Empty: none."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of the stacks and of what they make."
  type        = map(string)
  default     = { service = "tagwarden" }
}
