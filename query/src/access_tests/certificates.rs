//! Who comes with a certificate, by every door; and that new certificates and tokens are taken while the service runs.

use std::path::Path;
use std::time::Duration;

use super::{ROOT, grant, token};
use crate::testing::{Stand, batch, flow, python};
use crate::{AccessSettings, QueryConfig, TlsSettings, TokenSettings};

/// A root, a certificate for this machine and one of a client, with their keys, by openssl.
pub(crate) fn certificates(directory: &Path) {
    let script = "set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj \"/CN=$1\" -keyout $1.key \"${@:2}\"; }
new root -x509 -days 1 -out root.pem
sign() {
  new $1 -out $1.csr
  printf 'subjectAltName=%s\\nbasicConstraints=CA:FALSE\\n' \"$2\" >$1.ext
  openssl x509 -req -in $1.csr -CA root.pem -CAkey root.key -CAcreateserial -days 1 -extfile $1.ext -out $1.pem
}
sign server DNS:localhost,IP:127.0.0.1
sign client URI:spiffe://test/alice
new stranger -x509 -days 1 -out stranger.pem";
    let made = std::process::Command::new("bash")
        .args(["-c", script])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "openssl: {made:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_bring_in_by_tls() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    certificates(directory.path());
    let stand = Stand::with(secured(directory.path())).await;
    let url = stand.url.replace("http://127.0.0.1", "https://localhost") + "/api/v1/session";
    let curl = async |more: &[&str]| {
        let mut command = tokio::process::Command::new("curl");
        command.current_dir(directory.path()).args(["-sS", "--cacert", "root.pem"]);
        let output = command.args(more).arg(&url).output().await.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (done, text) = curl(&["--cert", "client.pem", "--key", "client.key"]).await;
    assert!(done && text.contains("spiffe://test/alice") && text.contains("ns-1"), "{text}");
    let (done, text) = curl(&["-H", &format!("authorization: Bearer {ROOT}")]).await;
    assert!(done && text.contains("\"root\""), "{text}");
    let (done, text) = curl(&[]).await;
    assert!(done && text.contains("UNAUTHENTICATED"), "{text}");
    // A certificate that nobody signed breaks the handshake.
    let (done, text) = curl(&["--cert", "stranger.pem", "--key", "stranger.key"]).await;
    assert!(!done && text.is_empty(), "{text}");
    // So does plain text; and a door with clients' certificates but without TLS does not open.
    assert!(stand.client.get(&stand.url).send().await.is_err());
    let access = AccessSettings { client_ca: Some(at("root.pem")), ..AccessSettings::default() };
    let config = QueryConfig { access: Some(access), ..QueryConfig::default() };
    assert!(crate::Query::bind(config).await.unwrap_err().to_string().contains("needs `tls`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_enough_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let stand = Stand::with(secured(directory.path())).await;
    stand.relay.push(batch((0..60).map(flow)));
    let own = (0..60).map(flow).filter(|flow| flow.source_namespace.as_deref() == Some("ns-1"));
    let own = own.count();
    let count = "select count(*), count(distinct source_namespace) from flows";
    let certificate = "sslcert=client.pem sslkey=client.key";
    let (printed, complaint) = psql(&stand, directory.path(), certificate, count).await;
    assert_eq!(printed, format!("{own}|1"), "{complaint}");
    let name = "show session_authorization";
    let (printed, complaint) = psql(&stand, directory.path(), certificate, name).await;
    assert_eq!(printed, "spiffe://test/alice", "{complaint}");
    let (printed, complaint) = psql(&stand, directory.path(), "", count).await;
    assert!(printed.is_empty() && complaint.contains("password"), "{printed} {complaint}");
    let stranger = "sslcert=stranger.pem sslkey=stranger.key";
    let (printed, complaint) = psql(&stand, directory.path(), stranger, count).await;
    assert!(printed.is_empty() && !complaint.is_empty(), "{printed} {complaint}");
    let program = include_str!("certificates.py");
    let place = directory.path().to_str().unwrap();
    let printed = python(program, &[&stand.grpc.replace("127.0.0.1", "localhost"), place]).await;
    assert_eq!(printed.trim(), format!("{own} {own} UNAUTHENTICATED UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_taken_while_the_service_runs() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for directory in [&first, &second] {
        certificates(directory.path());
    }
    let directory = first.path();
    let secret = directory.join("token");
    std::fs::write(&secret, "the-first-secret-of-bob\n").unwrap();
    let mut config = secured(directory);
    let access = config.access.as_mut().unwrap();
    access.tokens.push(TokenSettings {
        name: "bob".into(),
        sha256: None,
        file: Some(secret.clone()),
    });
    let stand = Stand::with(config).await;
    let url = stand.url.replace("http://127.0.0.1", "https://localhost");
    let get = async |root: &Path, path: &str, token: &str| {
        let mut command = tokio::process::Command::new("curl");
        command.args(["-sS", "-H", &format!("authorization: Bearer {token}"), "--cacert"]);
        let output = command.arg(root.join("root.pem")).arg(format!("{url}{path}")).output().await;
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let is_let_in =
        async |token: &str| get(directory, "/api/v1/session", token).await.contains("\"bob\"");
    assert!(is_let_in("the-first-secret-of-bob").await);

    // A file that cannot be used changes nothing, and is told.
    std::fs::write(&secret, "short").unwrap();
    until(async || {
        get(directory, "/metrics", ROOT).await.contains("\nweir_query_reload_errors_total 1\n")
    })
    .await;
    assert!(is_let_in("the-first-secret-of-bob").await);
    std::fs::write(&secret, "the-second-secret-of-bob").unwrap();
    until(async || is_let_in("the-second-secret-of-bob").await).await;
    assert!(!is_let_in("the-first-secret-of-bob").await);

    // Another root signs now: the doors' own certificate, and those of clients.
    for name in ["server.key", "server.pem"] {
        std::fs::copy(second.path().join(name), directory.join(name)).unwrap();
    }
    until(async || get(second.path(), "/api/v1/session", ROOT).await.contains("\"root\"")).await;
    std::fs::copy(second.path().join("root.pem"), directory.join("root.pem")).unwrap();
    let name = "show session_authorization";
    let certificate = "sslcert=client.pem sslkey=client.key";
    until(async || psql(&stand, second.path(), certificate, name).await.0 == "spiffe://test/alice")
        .await;
    let program = include_str!("certificates.py");
    let address = stand.grpc.replace("127.0.0.1", "localhost");
    let printed = python(program, &[&address, second.path().to_str().unwrap()]).await;
    assert_eq!(printed.trim(), "0 0 UNAUTHENTICATED UNAVAILABLE");
}

/// Tokens of root, and certificates of clients that are signed as the service's own is.
fn secured(directory: &Path) -> QueryConfig {
    let at = |name: &str| directory.join(name);
    let access = AccessSettings {
        tokens: vec![token("root", ROOT)],
        client_ca: Some(at("root.pem")),
        grants: vec![grant("spiffe://test/alice", &["ns-1"], false), grant("root", &["*"], true)],
        ..AccessSettings::default()
    };
    QueryConfig { access: Some(access), tls: Some(tls(directory)), ..QueryConfig::default() }
}

/// The doors' own certificate.
pub(crate) fn tls(directory: &Path) -> TlsSettings {
    TlsSettings { certificate: directory.join("server.pem"), key: directory.join("server.key") }
}

/// psql with the files of a directory: what it printed, and what it complained about.
async fn psql(stand: &Stand, directory: &Path, more: &str, sql: &str) -> (String, String) {
    let to = format!(
        "host=localhost port={} user=me dbname=any sslmode=verify-full sslrootcert=root.pem {more}",
        stand.postgres.port()
    );
    let mut command = tokio::process::Command::new("psql");
    command.current_dir(directory).args(["-X", "-At", "-w", "-d", &to, "-c", sql]);
    let output = command.output().await.expect("run scripts/setup test");
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    (text(output.stdout), text(output.stderr))
}

async fn until(condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), holds)
        .await
        .expect("files are looked at every few seconds");
}
