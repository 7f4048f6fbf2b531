//! tagwarden takes the tags off container images in Amazon ECR that have Critical or High findings.
