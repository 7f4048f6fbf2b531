//! From a request to an [`ApiCall`], and from an outcome to a response, in each service's protocol.

use serde_json::{Value, json};

use crate::api::{Answer, ApiCall, ApiError, Input as _, Protocol, Service};
use crate::config::SimConfig;
use crate::query;
use crate::sts;
use crate::wire::{Request, Response};

/// Reads a request. The error is a response: such a request names no operation that could be recorded.
pub(crate) fn parse(request: &Request, config: &SimConfig) -> Result<ApiCall, Response> {
    let scope = Scope::of(request);
    let caller = scope.access_key.unwrap_or(sts::OWN_ACCESS_KEY).to_owned();
    let account = sts::account_of(&caller).unwrap_or(&config.account).to_owned();
    let region = scope.region.unwrap_or(&config.region).to_owned();

    let (service, operation, input, protocol) = match request.header("x-amz-target") {
        Some(target) => parse_json(request, target)?,
        None => parse_query(request, scope.service)?,
    };
    Ok(ApiCall { service, operation, input, caller, account, region, protocol })
}

type Parsed = (Service, String, Value, Protocol);

fn parse_json(request: &Request, target: &str) -> Result<Parsed, Response> {
    let unknown =
        || ApiError::new("UnknownOperationException", format!("no such target: {target}"));
    let reject = |error| render(Protocol::Json11, target, &Err(error), "unparsed");

    let (prefix, operation) = target.split_once('.').ok_or_else(|| reject(unknown()))?;
    let query_mode = request.header("x-amzn-query-mode") == Some("true");
    let (service, protocol) = match prefix {
        "AmazonSQS" => (Service::Sqs, Protocol::Json10 { query_mode }),
        "AmazonEC2ContainerRegistry_V20150921" => (Service::Ecr, Protocol::Json11),
        "AWSEvents" => (Service::Events, Protocol::Json11),
        _ => return Err(reject(unknown())),
    };
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    match serde_json::from_slice::<Value>(body) {
        Ok(input) if input.is_object() => Ok((service, operation.to_owned(), input, protocol)),
        _ => Err(reject(ApiError::new("SerializationException", "the body is not a JSON object"))),
    }
}

fn parse_query(request: &Request, signed_for: Option<&str>) -> Result<Parsed, Response> {
    let reject = |error| render(Protocol::Query, "Unknown", &Err(error), "unparsed");
    let form = query::Form::parse(&request.body);
    let service = match (form.version.as_deref(), signed_for) {
        (Some("2010-03-31"), _) | (None, Some("sns")) => Service::Sns,
        (Some("2011-06-15"), _) | (None, Some("sts")) => Service::Sts,
        _ => {
            let message =
                "neither x-amz-target nor a known Version: not a request to a simulated service";
            return Err(reject(ApiError::new("UnknownOperationException", message)));
        }
    };
    match form.action {
        Some(action) => Ok((service, action, form.input, Protocol::Query)),
        None => Err(reject(ApiError::new("MissingAction", "no Action in the form"))),
    }
}

/// Writes what a call is answered with.
pub(crate) fn render(
    protocol: Protocol,
    operation: &str,
    answer: &Answer,
    request_id: &str,
) -> Response {
    let (status, body, error_header) = match (protocol, answer) {
        (Protocol::Query, Ok(reply)) => {
            (200, query::reply(operation, &reply.tree(), request_id).into_bytes(), None)
        }
        (Protocol::Query, Err(error)) => {
            (error.status, query::error(error, request_id).into_bytes(), None)
        }
        (_, Ok(reply)) => (200, reply.to_json(), None),
        (Protocol::Json10 { query_mode }, Err(error)) => {
            let side = if error.status < 500 { "Sender" } else { "Receiver" };
            let header = query_mode.then(|| format!("{};{side}", sqs_query_code(&error.code)));
            let body = json!({"__type": format!("com.amazonaws.sqs#{}", error.code), "message": error.message});
            (error.status, body.to_string().into_bytes(), header)
        }
        (Protocol::Json11, Err(error)) => {
            let mut body = json!({"__type": error.code, "message": error.message});
            if let Some(kms_error) = &error.kms_error {
                body.set("kmsError", json!(kms_error));
            }
            (error.status, body.to_string().into_bytes(), None)
        }
    };
    let content_type = match protocol {
        Protocol::Json10 { .. } => "application/x-amz-json-1.0",
        Protocol::Json11 => "application/x-amz-json-1.1",
        Protocol::Query => "text/xml",
    };
    let mut headers = vec![
        ("content-type".to_owned(), content_type.to_owned()),
        ("x-amzn-requestid".to_owned(), request_id.to_owned()),
    ];
    headers.extend(error_header.map(|value| ("x-amzn-query-error".to_owned(), value)));
    Response { status, headers, body }
}

/// The code that SQS's older query protocol has for an error; SDKs map on this one.
fn sqs_query_code(code: &str) -> String {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
        "QueueNameExists" => "QueueAlreadyExists".to_owned(),
        "KmsAccessDenied" => "KMS.AccessDeniedException".to_owned(),
        "KmsDisabled" => "KMS.DisabledException".to_owned(),
        "KmsInvalidKeyUsage" => "KMS.InvalidKeyUsageException".to_owned(),
        "KmsInvalidState" => "KMS.InvalidStateException".to_owned(),
        "KmsNotFound" => "KMS.NotFoundException".to_owned(),
        "KmsOptInRequired" => "KMS.OptInRequired".to_owned(),
        "KmsThrottled" => "KMS.ThrottlingException".to_owned(),
        "MessageNotInflight"
        | "EmptyBatchRequest"
        | "TooManyEntriesInBatchRequest"
        | "BatchEntryIdsNotDistinct"
        | "BatchRequestTooLong"
        | "InvalidBatchEntryId"
        | "PurgeQueueInProgress"
        | "QueueDeletedRecently"
        | "UnsupportedOperation" => format!("AWS.SimpleQueueService.{code}"),
        _ => code.to_owned(),
    }
}

/// The parts of the SigV4 credential scope: `Credential=<access key>/<date>/<region>/<service>/aws4_request`.
#[derive(Default)]
struct Scope<'a> {
    access_key: Option<&'a str>,
    region: Option<&'a str>,
    service: Option<&'a str>,
}

impl<'a> Scope<'a> {
    fn of(request: &'a Request) -> Self {
        let Some((_, rest)) =
            request.header("authorization").and_then(|value| value.split_once("Credential="))
        else {
            return Self::default();
        };
        let mut parts = rest.split(',').next().unwrap_or_default().split('/');
        let access_key = parts.next();
        let _date = parts.next();
        Self { access_key, region: parts.next(), service: parts.next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], body: &str) -> Request {
        Request {
            method: "POST".to_owned(),
            uri: "/".to_owned(),
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn account_and_region_come_from_the_credential_scope() -> Result<(), Response> {
        let authorization = "AWS4-HMAC-SHA256 Credential=ASIASIM0444455556666/20260102/us-east-2/ecr/aws4_request, SignedHeaders=host";
        let headers = [
            ("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.ListImages"),
            ("authorization", authorization),
        ];
        let call = parse(&request(&headers, "{}"), &SimConfig::default())?;
        assert_eq!((call.account.as_str(), call.region.as_str()), ("444455556666", "us-east-2"));
        assert_eq!(call.operation, "ListImages");
        assert_eq!(call.caller, "ASIASIM0444455556666");
        Ok(())
    }

    #[test]
    fn a_request_to_no_simulated_service_is_refused() {
        let refused = parse(
            &request(&[("x-amz-target", "DynamoDB_20120810.GetItem")], "{}"),
            &SimConfig::default(),
        );
        assert!(refused.is_err_and(|response| response.status == 400));
    }

    #[test]
    fn a_body_that_is_not_an_object_is_refused() {
        let refused = parse(
            &request(&[("x-amz-target", "AmazonSQS.ListQueues")], "[1"),
            &SimConfig::default(),
        );
        assert!(refused.is_err_and(|response| {
            String::from_utf8_lossy(&response.body).contains("SerializationException")
        }));
    }
}
