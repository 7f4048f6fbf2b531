//! The addresses that the real binary calls: the standard variables for endpoints, FIPS and
//! dual-stack, and the partitions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_sim::{ScanResult, Sim, SimConfig};
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::process::{Variables, tagwarden, variables, within_deadline};
use crate::world::{LOOPBACK, QUEUE, World, assert_in_order, quarantine_tag, silent_port};

const OTHER_ACCOUNT: &str = "444455556666";

/// An HTTPS proxy that lets nothing through. Its requests show for which host a call is meant.
struct Proxy {
    url: String,
    asked: mpsc::UnboundedReceiver<String>,
    _serving: JoinSet<()>,
}

impl Proxy {
    async fn new() -> Self {
        let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, asked) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(request.get(..read).unwrap_or_default());
                let host = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next());
                drop(sender.send(host.unwrap_or(&request).to_owned()));
            }
        });
        Self { url, asked, _serving: serving }
    }

    /// The first host that a command calls. The command is killed then.
    async fn first_host(mut self, arguments: &[&str], mut variables: Variables) -> String {
        variables.insert("HTTPS_PROXY".to_owned(), self.url);
        let mut command = tagwarden(arguments, &variables);
        let _child = command.spawn().expect("the binary can be started");
        within_deadline("a call", self.asked.recv()).await.expect("a host")
    }
}

/// The surroundings of a worker.
#[derive(Clone, Copy)]
struct Place {
    region: &'static str,
    partition: &'static str,
    /// A variable with the value `true`, if any.
    switch: Option<&'static str>,
    /// The hosts of ECR, SQS and STS.
    hosts: [&'static str; 3],
}

impl Place {
    fn variables(self) -> Variables {
        let Self { region, partition, switch, hosts: _ } = self;
        let queue = format!("https://sqs.{region}.amazonaws.com/111122223333/tagwarden");
        let topic = format!("arn:{partition}:sns:{region}:111122223333:team");
        let mut variables = variables("", region, &queue, &topic);
        variables.remove("AWS_ENDPOINT_URL");
        variables.extend(switch.map(|switch| (switch.to_owned(), "true".to_owned())));
        let role = format!("arn:{partition}:iam::{{account}}:role/tagwarden");
        variables.insert("TAGWARDEN__AWS__ASSUME_ROLE".to_owned(), role);
        let accounts = format!("111122223333,{OTHER_ACCOUNT}");
        variables.insert("TAGWARDEN__POLICY__ACCOUNTS".to_owned(), accounts);
        variables
    }

    /// The host that is called about an image of this account.
    async fn host_for(self, account: &str) -> String {
        let Self { region, partition, .. } = self;
        let event = json!({
            "version": "0",
            "id": "00000000-0000-4000-8000-000000000001",
            "detail-type": "ECR Image Scan",
            "source": "aws.ecr",
            "account": account,
            "time": "2026-01-02T03:04:05Z",
            "region": region,
            "resources": [format!("arn:{partition}:ecr:{region}:{account}:repository/team/app")],
            "detail": {
                "scan-status": "COMPLETE",
                "repository-name": "team/app",
                "image-digest": format!("sha256:{}", "a".repeat(64)),
                "image-tags": ["1.0"],
            },
        });
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), event.to_string()).expect("a file that can be written");
        let path = file.path().to_str().expect("a path in UTF-8");
        Proxy::new().await.first_host(&["explain", "--live", path], self.variables()).await
    }

    async fn hosts(self) -> [String; 3] {
        let sqs = async {
            let proxy = Proxy::new().await;
            proxy.first_host(&["run"], self.variables()).await
        };
        let ecr = self.host_for("111122223333");
        let sts = self.host_for(OTHER_ACCOUNT);
        let (ecr, sqs, sts) = tokio::join!(ecr, sqs, sts);
        [ecr, sqs, sts]
    }

    /// The SNS host, which is called after the queue has answered.
    async fn topic_host(self) -> String {
        let sim = Sim::new(SimConfig { region: self.region.to_owned(), ..SimConfig::default() });
        let (queue, _) = sim.create_queue_with_redrive(QUEUE, 5, &[]);
        let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
        let server = sim.serve(listener).await.expect("a listener");
        let mut variables = self.variables();
        variables.insert("AWS_ENDPOINT_URL_SQS".to_owned(), server.endpoint());
        variables.insert("TAGWARDEN__QUEUE__URL".to_owned(), queue);
        let proxy = Proxy::new().await;
        proxy.first_host(&["run"], variables).await
    }

    async fn check(self) {
        let (region, switch) = (self.region, self.switch);
        assert_eq!(self.hosts().await, self.hosts, "{region} {switch:?}");
    }
}

#[tokio::test]
async fn every_service_is_called_at_the_endpoint_of_its_partition() {
    let places = [
        Place {
            region: "eu-west-1",
            partition: "aws",
            switch: None,
            hosts: [
                "api.ecr.eu-west-1.amazonaws.com",
                "sqs.eu-west-1.amazonaws.com",
                "sts.eu-west-1.amazonaws.com",
            ],
        },
        Place {
            region: "cn-north-1",
            partition: "aws-cn",
            switch: None,
            hosts: [
                "api.ecr.cn-north-1.amazonaws.com.cn",
                "sqs.cn-north-1.amazonaws.com.cn",
                "sts.cn-north-1.amazonaws.com.cn",
            ],
        },
        Place {
            region: "us-gov-west-1",
            partition: "aws-us-gov",
            switch: None,
            hosts: [
                "api.ecr.us-gov-west-1.amazonaws.com",
                "sqs.us-gov-west-1.amazonaws.com",
                "sts.us-gov-west-1.amazonaws.com",
            ],
        },
        Place {
            region: "eusc-de-east-1",
            partition: "aws-eusc",
            switch: None,
            hosts: [
                "api.ecr.eusc-de-east-1.amazonaws.eu",
                "sqs.eusc-de-east-1.amazonaws.eu",
                "sts.eusc-de-east-1.amazonaws.eu",
            ],
        },
    ];
    join_all(places.map(Place::check)).await;
    let topics = places.map(|place| async move { (place.topic_host().await, place.hosts[1]) });
    for (topic, queue) in join_all(topics).await {
        assert_eq!(topic, queue.replace("sqs", "sns"));
    }
}

#[tokio::test]
async fn standard_variables_switch_fips_and_dual_stack_endpoints_on() {
    let fips = Some("AWS_USE_FIPS_ENDPOINT");
    let places = [
        Place {
            region: "us-east-1",
            partition: "aws",
            switch: fips,
            hosts: [
                "api.ecr-fips.us-east-1.amazonaws.com",
                "sqs-fips.us-east-1.amazonaws.com",
                "sts-fips.us-east-1.amazonaws.com",
            ],
        },
        Place {
            region: "us-gov-west-1",
            partition: "aws-us-gov",
            switch: fips,
            hosts: [
                "api.ecr-fips.us-gov-west-1.amazonaws.com",
                "sqs.us-gov-west-1.amazonaws.com",
                "sts.us-gov-west-1.amazonaws.com",
            ],
        },
        Place {
            region: "eu-west-1",
            partition: "aws",
            switch: Some("AWS_USE_DUALSTACK_ENDPOINT"),
            hosts: ["ecr.eu-west-1.api.aws", "sqs.eu-west-1.api.aws", "sts.eu-west-1.api.aws"],
        },
    ];
    join_all(places.map(Place::check)).await;
}

/// An interface VPC endpoint: a separate way to the simulation that keeps the requests.
struct VpcEndpoint {
    url: String,
    asked: Arc<Mutex<String>>,
    _serving: JoinSet<()>,
}

impl VpcEndpoint {
    async fn before(world: &World) -> Self {
        let upstream = world.variables["AWS_ENDPOINT_URL"].trim_start_matches("http://");
        let upstream: SocketAddr = upstream.parse().expect("an address");
        let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<String>>::default();
        let keeper = Arc::clone(&asked);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, upstream, Arc::clone(&keeper)));
            }
        });
        Self { url, asked, _serving: serving }
    }

    fn asked(&self) -> String {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

/// Passes bytes in both directions, and keeps the requests.
async fn pass(client: TcpStream, upstream: SocketAddr, asked: Arc<Mutex<String>>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let (mut requests, mut to_client) = client.into_split();
    let (mut answers, mut to_server) = server.into_split();
    let forward = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = requests.read(&mut buffer).await {
            let bytes = buffer.get(..read).unwrap_or_default();
            let text = String::from_utf8_lossy(bytes);
            asked.lock().expect("nobody panics with it").push_str(&text);
            if to_server.write_all(bytes).await.is_err() {
                break;
            }
        }
    };
    let back = tokio::io::copy(&mut answers, &mut to_client);
    tokio::select! {
        () = forward => {}
        _ = back => {}
    }
}

#[tokio::test]
async fn each_service_is_called_at_the_vpc_endpoint_of_its_variable() {
    // The text that a request contains in each service's own protocol.
    const SERVICES: [(&str, &str); 4] = [
        ("ECR", "AmazonEC2ContainerRegistry_V20150921."),
        ("SNS", "Action=Publish"),
        ("SQS", "AmazonSQS."),
        ("STS", "Action=AssumeRole"),
    ];
    let mut world = World::new().await;
    let endpoints = join_all(SERVICES.map(|_| VpcEndpoint::before(&world))).await;
    // A service without its own endpoint would be called where nobody listens.
    let (_socket, nobody) = silent_port();
    world = world
        .set("AWS_ENDPOINT_URL", format!("http://{nobody}"))
        .set("TAGWARDEN__POLICY__ACCOUNTS", OTHER_ACCOUNT)
        .set("TAGWARDEN__AWS__ASSUME_ROLE", "arn:aws:iam::{account}:role/tagwarden");
    for ((service, _), endpoint) in SERVICES.iter().zip(&endpoints) {
        world = world.set(&format!("AWS_ENDPOINT_URL_{service}"), &endpoint.url);
    }
    let sim = &world.sim;
    let repository = sim.create_repository_in(OTHER_ACCOUNT, "eu-west-1", "team/app");
    let digest = sim.push_image(&repository, &["1.0"], "bad");
    sim.set_findings(&repository, &digest, ScanResult::basic(&[("CRITICAL", 1)]));
    let event = json!({
        "id": "1", "source": "aws.ecr", "detail-type": "ECR Image Scan",
        "account": OTHER_ACCOUNT, "region": "eu-west-1", "time": "2026-01-02T03:04:05Z",
        "resources": [repository.arn()],
        "detail": {
            "scan-status": "COMPLETE", "repository-name": "team/app", "image-digest": digest,
            "image-tags": ["1.0"],
        },
    });
    sim.send(QUEUE, &event.to_string());

    let mut worker = world.worker().await;
    worker.logged("assessed", |line| line["outcome"] == "quarantined").await;
    assert_in_order(&worker.stopped().await);

    assert_eq!(sim.tags(&repository, &digest), Some(vec![quarantine_tag(&digest)]));
    for ((service, _), endpoint) in SERVICES.iter().zip(&endpoints) {
        let asked = endpoint.asked();
        for (other, request) in SERVICES {
            assert_eq!(
                asked.contains(request),
                other == *service,
                "{other} at {service}:\n{asked}"
            );
        }
    }
}
