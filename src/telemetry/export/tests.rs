use super::*;

fn wanted(variables: &[(&str, &str)]) -> Result<bool, String> {
    let variable = |name: &str| {
        let value = variables.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| (*value).to_owned())
    };
    TRACES.is_wanted(&variable).map_err(|error| error.to_string())
}

#[test]
fn endpoint_switches_the_export_on() {
    assert_eq!(wanted(&[]), Ok(false));
    for variable in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
        assert_eq!(wanted(&[(variable, "http://localhost:4318")]), Ok(true), "{variable}");
    }
    assert_eq!(wanted(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a")]), Ok(false));
}

#[test]
fn standard_variables_switch_the_export_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
    assert_eq!(wanted(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(false));
    assert_eq!(wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
    assert_eq!(wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
    assert_eq!(wanted(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]), Ok(true));
}

#[test]
fn unsupported_protocol_or_endpoint_is_an_error() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
    let grpc = wanted(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert_eq!(
        grpc,
        Err("OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\": only http/protobuf is supported; \
             remove the variable"
            .to_owned())
    );
    let tls = wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://xray.eu-west-1.amazonaws.com")]);
    assert_eq!(
        tls,
        Err("OTEL_EXPORTER_OTLP_ENDPOINT is \"https://xray.eu-west-1.amazonaws.com\": give the \
             http:// URL of a collector beside the worker, such as http://localhost:4318"
            .to_owned())
    );
}
