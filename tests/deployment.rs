//! What `perf/deploy` tells other machines to run is what the command understands, and makes a chain.

#[path = "common/command.rs"]
mod command;

use command::{Running, good, ports, throng};
use rustix::process::Signal;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).expect("YAML")
}

fn words(list: &Value) -> Vec<String> {
    let word = |word: &Value| word.as_str().expect("a word").to_owned();
    list.as_array().expect("a list").iter().map(word).collect()
}

/// The value of `--flag=value`.
fn flag<'a>(args: &'a [String], name: &str) -> &'a str {
    let start = format!("--{name}=");
    args.iter().find_map(|arg| arg.strip_prefix(&start)).unwrap_or_else(|| panic!("{args:?} has no {name}"))
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').expect("a port").1.parse().expect("a number")
}

/// The Compose file.
struct Compose {
    services: Map<String, Value>,
}

impl Compose {
    fn read() -> Compose {
        let services = parse(&file("compose.yaml"))["services"].as_object().expect("services").clone();
        Compose { services }
    }

    /// The services that run a node, by seat.
    fn nodes(&self) -> Vec<(&str, Vec<String>)> {
        let nodes = self.services.iter().filter(|(name, _)| name.starts_with("node-"));
        nodes.map(|(name, service)| (name.as_str(), words(&service["command"]))).collect()
    }
}

/// Writes the chain as the Compose file's first service does, in a folder that stands for its volume.
fn write_chain(compose: &Compose) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let chain = dir.path().join("files");
    let command = words(&compose.services["genesis"]["command"]);
    let there = |word: &String| word.replace("/chain/files", chain.to_str().expect("UTF-8"));
    good(&command.iter().map(there).collect::<Vec<_>>());
    (dir, chain)
}

#[test]
fn the_services_of_the_compose_file_make_a_chain_that_settles_and_ends_cleanly() {
    let compose = Compose::read();
    let (dir, chain) = write_chain(&compose);
    let nodes = compose.nodes();
    assert_eq!(nodes.len(), 4);
    // Ports of this machine stand for the containers' own.
    let free = ports(3 * nodes.len());
    let names: BTreeMap<&str, u16> = nodes.iter().map(|(name, _)| *name).zip(free.iter().copied()).collect();
    let mut running = Vec::new();
    for (seat, (name, args)) in nodes.iter().enumerate() {
        assert_eq!(*name, format!("node-{seat}"));
        assert!(flag(args, "config").ends_with(&format!("{name}/config.toml")), "its own key: {args:?}");
        let here = |arg: &String| -> String {
            let arg = arg.replace("/chain/files", chain.to_str().expect("UTF-8"));
            let arg = arg.replace("=/data", &format!("={}", dir.path().join(name).display()));
            let arg = names.iter().fold(arg, |arg, (name, port)| {
                arg.replace(&format!("{name}:27100"), &format!("127.0.0.1:{port}"))
            });
            let own =
                [27100, 27101, 27102].into_iter().zip([0, 1, 2].map(|kind| free[kind * nodes.len() + seat]));
            own.fold(arg, |arg, (inside, here)| {
                arg.replace(&format!("0.0.0.0:{inside}"), &format!("127.0.0.1:{here}"))
            })
        };
        running.push(Running::start(&args.iter().map(here).collect::<Vec<_>>(), "clients"));
    }
    let client = format!("127.0.0.1:{}", free[nodes.len()]);
    let keys = chain.join("accounts.toml");
    let send = ["send", "--node", &client, "--keys", keys.to_str().expect("UTF-8")];
    good(&[&send[..], &["--from", "1", "--to", "2", "--amount", "5"]].concat());
    for seat in 0..nodes.len() {
        healthy(&compose.services[&format!("node-{seat}")], seat, &free);
    }
    for node in running {
        let (status, _) = node.end(Signal::TERM);
        assert_eq!(status, Some(0), "as `docker stop` asks it");
    }
}

/// The service's own check succeeds on the node, and so does the one that Kubernetes makes.
#[allow(clippy::disallowed_methods, reason = "processes take real time")]
fn healthy(service: &Value, seat: usize, free: &[u16]) {
    let nodes = free.len() / 3;
    let test = words(&service["healthcheck"]["test"]);
    assert_eq!(test[..2], ["CMD", "throng"]);
    let here = format!("127.0.0.1:{}", free[nodes + seat]);
    let args: Vec<String> = test[2..].iter().map(|arg| arg.replace("127.0.0.1:27101", &here)).collect();
    good(&args);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !get(free[2 * nodes + seat], "/health").starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "node {seat} never followed the chain");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The whole answer of a node to a request by HTTP.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_compose_file_gives_each_node_its_own_volume_and_publishes_ports_that_it_listens_on() {
    let compose = Compose::read();
    let nodes = compose.nodes();
    let peers: Vec<String> = nodes.iter().map(|(name, _)| format!("{name}:27100")).collect();
    for (seat, (name, args)) in nodes.iter().enumerate() {
        let service = &compose.services[*name];
        assert_eq!(flag(args, "peers"), peers.join(","), "all nodes, in the order of seats");
        let volumes = words(&service["volumes"]);
        assert!(volumes.contains(&format!("data-{seat}:{}", flag(args, "dir"))), "{name}: {volumes:?}");
        assert!(volumes.contains(&"chain:/chain:ro".to_owned()), "{name}: {volumes:?}");
        let listens = ["listen-clients", "http"].map(|name| port(flag(args, name)));
        for published in service.get("ports").map(words).unwrap_or_default() {
            assert!(listens.contains(&port(&published)), "{published}");
            assert!(published.starts_with("127.0.0.1:"), "only this machine: {published}");
        }
    }
}

/// The manifests by kind; of services and the like there are several.
fn manifests() -> Vec<Value> {
    file("kubernetes.yaml").split("\n---\n").map(parse).collect()
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|manifest| manifest["kind"] == kind).collect()
}

#[test]
fn every_pod_of_the_stateful_set_runs_a_node_with_its_own_key_and_volume() {
    let all = manifests();
    let set = &of_kind(&all, "StatefulSet")[0]["spec"];
    let replicas = set["replicas"].as_u64().expect("a number") as usize;
    let pod = &set["template"]["spec"];
    let args = words(&pod["containers"][0]["args"]);
    let service = set["serviceName"].as_str().expect("a name");
    let peers: Vec<String> = (0..replicas).map(|seat| format!("throng-{seat}.{service}:27100")).collect();
    assert_eq!(flag(&args, "peers"), peers.join(","), "every pod by its stable name");

    let (dir, chain) = write_chain(&Compose::read());
    for seat in 0..replicas {
        // What the secret, the config map and the first container put where the node looks for it.
        let key = chain.join(format!("node-{seat}/key.toml"));
        let here = |arg: &String| {
            let arg = arg.replace("=/key/key.toml", &format!("={}", key.display()));
            let arg = arg.replace("=/chain/", &format!("={}/", chain.display()));
            arg.replace("=/data", &format!("={}", dir.path().display()))
        };
        let mut command: Vec<String> = args.iter().map(here).collect();
        command.push("--print-config".into());
        let config: toml::Table = good(&command).parse().expect("TOML");
        assert_eq!(config["peers"].as_array().map(Vec::len), Some(replicas));
    }
    let copies = words(&pod["initContainers"][0]["command"]);
    assert_eq!(copies, ["install", "-m", "600", "/keys/node-$(ORDINAL).toml", "/key/key.toml"]);
    let claim = &set["volumeClaimTemplates"][0]["metadata"]["name"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let data = mounts.iter().find(|mount| mount["name"] == *claim).expect("the claim is mounted");
    assert!(flag(&args, "dir").starts_with(data["mountPath"].as_str().expect("a path")));
}

#[test]
fn ports_labels_and_probes_of_the_manifests_fit_what_the_node_listens_on() {
    let all = manifests();
    let set = &of_kind(&all, "StatefulSet")[0]["spec"];
    let container = &set["template"]["spec"]["containers"][0];
    let args = words(&container["args"]);
    let listens: BTreeMap<&str, u16> =
        [("peers", "listen-peers"), ("clients", "listen-clients"), ("http", "http")]
            .map(|(name, of)| (name, port(flag(&args, of))))
            .into();
    let named = |ports: &Value, number: &str| -> BTreeMap<String, u16> {
        let ports = ports.as_array().expect("ports").iter();
        ports.map(|p| (p["name"].as_str().unwrap().to_owned(), p[number].as_u64().unwrap() as u16)).collect()
    };
    let own = named(&container["ports"], "containerPort");
    assert_eq!(own, listens.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect());
    let labels = &set["template"]["metadata"]["labels"];
    assert_eq!(set["selector"]["matchLabels"], *labels);
    let services = of_kind(&all, "Service");
    for service in &services {
        assert_eq!(service["spec"]["selector"], *labels);
        for (name, port) in named(&service["spec"]["ports"], "port") {
            assert_eq!(own.get(&name), Some(&port), "{name}");
        }
    }
    let headless =
        services.iter().find(|service| service["spec"]["clusterIP"] == "None").expect("names for pods");
    assert_eq!(headless["metadata"]["name"], set["serviceName"]);
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true, "else no quorum would ever be ready");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let port =
            ["httpGet", "tcpSocket"].map(|way| container[probe][way]["port"].as_str()).into_iter().flatten();
        assert!(port.clone().count() == 1 && port.clone().all(|port| own.contains_key(port)), "{probe}");
    }
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/health");
    let faulty = (set["replicas"].as_u64().expect("a number") - 1) / 3;
    assert_eq!(of_kind(&all, "PodDisruptionBudget")[0]["spec"]["maxUnavailable"], faulty);
}

#[test]
fn the_image_is_built_with_the_oldest_compiler_that_the_manifest_allows_and_shows_the_ports() {
    let image = file("Dockerfile");
    let manifest: toml::Table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let rust = manifest["package"]["rust-version"].as_str().expect("a version");
    assert!(image.contains(&format!("FROM rust:{rust}-slim")), "{rust}");
    assert!(image.contains("EXPOSE 27100 27101 27102"));
    assert!(image.contains("ENTRYPOINT [\"throng\"]"));
    let help = throng(&["node", "--help"]);
    let help = String::from_utf8(help.stdout).expect("text");
    let compose = Compose::read();
    let flags = compose.nodes().into_iter().flat_map(|(_, args)| args.into_iter().skip(1));
    for flag in flags {
        let name = flag.split('=').next().expect("a flag");
        assert!(help.contains(name), "{name}");
    }
}
