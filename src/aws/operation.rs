//! The operations of AWS that the worker calls.

/// An operation that the worker or a command calls. The metric labels `service` and `operation`
/// take their values from this closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is the operation of that name in the service's API reference"
)]
pub enum Operation {
    GetQueueAttributes,
    ReceiveMessage,
    DeleteMessageBatch,
    ChangeMessageVisibilityBatch,
    SendMessageBatch,
    DescribeRepositories,
    DescribeImages,
    DescribeImageScanFindings,
    DescribePullThroughCacheRules,
    DescribeRegistry,
    StartImageScan,
    BatchGetImage,
    PutImage,
    BatchDeleteImage,
    ListImageReferrers,
    InitiateLayerUpload,
    UploadLayerPart,
    CompleteLayerUpload,
    GetTopicAttributes,
    Publish,
    GetCallerIdentity,
    GetLifecyclePolicy,
}

impl Operation {
    /// Every operation that the worker calls. Only commands ask ECR for lifecycle policies.
    pub const ALL: [Self; 21] = [
        Self::GetQueueAttributes,
        Self::ReceiveMessage,
        Self::DeleteMessageBatch,
        Self::ChangeMessageVisibilityBatch,
        Self::SendMessageBatch,
        Self::DescribeRepositories,
        Self::DescribeImages,
        Self::DescribeImageScanFindings,
        Self::DescribePullThroughCacheRules,
        Self::DescribeRegistry,
        Self::StartImageScan,
        Self::BatchGetImage,
        Self::PutImage,
        Self::BatchDeleteImage,
        Self::ListImageReferrers,
        Self::InitiateLayerUpload,
        Self::UploadLayerPart,
        Self::CompleteLayerUpload,
        Self::GetTopicAttributes,
        Self::Publish,
        Self::GetCallerIdentity,
    ];

    /// Returns the service's name.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::GetQueueAttributes
            | Self::ReceiveMessage
            | Self::DeleteMessageBatch
            | Self::ChangeMessageVisibilityBatch
            | Self::SendMessageBatch => "sqs",
            Self::DescribeRepositories
            | Self::DescribeImages
            | Self::DescribeImageScanFindings
            | Self::DescribePullThroughCacheRules
            | Self::DescribeRegistry
            | Self::StartImageScan
            | Self::BatchGetImage
            | Self::PutImage
            | Self::BatchDeleteImage
            | Self::ListImageReferrers
            | Self::InitiateLayerUpload
            | Self::UploadLayerPart
            | Self::CompleteLayerUpload
            | Self::GetLifecyclePolicy => "ecr",
            Self::GetTopicAttributes | Self::Publish => "sns",
            Self::GetCallerIdentity => "sts",
        }
    }

    /// Returns whether calls are paced once AWS throttles them. Only those to ECR are, because the
    /// queue must not wait and the quotas of topics are far away.
    #[must_use]
    pub fn is_paced(self) -> bool {
        self.service() == "ecr"
    }

    /// Returns the operation's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GetQueueAttributes => "GetQueueAttributes",
            Self::ReceiveMessage => "ReceiveMessage",
            Self::DeleteMessageBatch => "DeleteMessageBatch",
            Self::ChangeMessageVisibilityBatch => "ChangeMessageVisibilityBatch",
            Self::SendMessageBatch => "SendMessageBatch",
            Self::DescribeRepositories => "DescribeRepositories",
            Self::DescribeImages => "DescribeImages",
            Self::DescribeImageScanFindings => "DescribeImageScanFindings",
            Self::DescribePullThroughCacheRules => "DescribePullThroughCacheRules",
            Self::DescribeRegistry => "DescribeRegistry",
            Self::StartImageScan => "StartImageScan",
            Self::BatchGetImage => "BatchGetImage",
            Self::PutImage => "PutImage",
            Self::BatchDeleteImage => "BatchDeleteImage",
            Self::ListImageReferrers => "ListImageReferrers",
            Self::InitiateLayerUpload => "InitiateLayerUpload",
            Self::UploadLayerPart => "UploadLayerPart",
            Self::CompleteLayerUpload => "CompleteLayerUpload",
            Self::GetTopicAttributes => "GetTopicAttributes",
            Self::Publish => "Publish",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::GetLifecyclePolicy => "GetLifecyclePolicy",
        }
    }
}
