//! `models pull` against a server on this machine that answers as the Hugging Face hub does: a model's directory
//! is fetched, converted and pinned; a broken download is gone on with; `--offline` asks for nothing. Limit: plain
//! HTTP, one request a connection.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of one repository and what was asked for.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
    /// Bytes after which each answer breaks off, while there are any left.
    breaks: Arc<Mutex<Vec<usize>>>,
}

impl Hub {
    fn serve(repo: &'static str, files: BTreeMap<String, Vec<u8>>) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let hub = Hub { endpoint, asked: Arc::default(), breaks: Arc::default() };
        let (asked, breaks) = (Arc::clone(&hub.asked), Arc::clone(&hub.breaks));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, repo, &files, &asked, &breaks);
            }
        });
        hub
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    repo: &str,
    files: &BTreeMap<String, Vec<u8>>,
    asked: &Mutex<Vec<String>>,
    breaks: &Mutex<Vec<usize>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap()?;
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        range = line.strip_prefix("range: bytes=").map(str::to_owned).or(range);
    }
    asked.lock().unwrap().push(format!("{path} {}", range.clone().unwrap_or_default()));
    if path.starts_with(&format!("/api/models/{repo}")) {
        let names: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "siblings": names, "sha": COMMIT }).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
        return write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
    }
    let name = path.strip_prefix(&format!("/{repo}/resolve/main/")).unwrap_or_default();
    let Some(content) = files.get(name) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let range = range.unwrap_or_else(|| "0-".into());
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse::<usize>().map_or(content.len(), |to| (to + 1).min(content.len()));
    let part = &content[from.min(to)..to];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{}\"\r\nConnection: close\r\n\
         Content-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
        etag(name, content),
        to.saturating_sub(1),
        content.len(),
        part.len()
    )?;
    let until = if part.len() == 1 { None } else { breaks.lock().unwrap().pop() };
    stream.write_all(&part[..until.unwrap_or(part.len()).min(part.len())])
}

/// Of a large file its SHA-256, of a small one something else.
fn etag(name: &str, content: &[u8]) -> String {
    let hash = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if name.ends_with(".bin") { hash } else { hash[..40].to_owned() }
}

fn codegen() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codegen-tiny");
    let names = ["config.json", "vocab.json", "merges.txt", "added_tokens.json", "pytorch_model.bin"];
    let mut files: BTreeMap<String, Vec<u8>> =
        names.iter().map(|name| ((*name).to_owned(), std::fs::read(folder.join(name)).unwrap())).collect();
    files.insert("README.md".into(), b"not wanted".to_vec());
    files
}

/// Runs the program with a home and a cache of its own: whether it succeeded, and what it said.
fn run(home: &Path, endpoint: &str, arguments: &[&str], offline: bool) -> (bool, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_llmatic-offline"));
    command.env("LLMATIC_HOME", home).env("HF_HOME", home.join("hf")).env("HF_ENDPOINT", endpoint);
    command.env("HF_HUB_OFFLINE", if offline { "1" } else { "0" });
    let output = command.current_dir(home).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_model_is_pulled_after_a_broken_download_converted_pinned_and_not_asked_for_again() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::serve("Salesforce/codegen-350M-mono", codegen());
    let pull = ["models", "pull", "codegen-350m-mono"];
    // Only the weights are longer than this; they break off in every attempt of the first pull.
    *hub.breaks.lock().unwrap() = vec![20_000; 1_000];
    let (good, _, said) = run(home.path(), &hub.endpoint, &pull, false);
    assert!(!good && said.contains("pull again"), "{said}");
    *hub.breaks.lock().unwrap() = Vec::new();
    let (good, out, said) = run(home.path(), &hub.endpoint, &pull, false);
    assert!(good, "{said}");
    assert!(out.contains("codegen-350m-mono-q4_k_m.gguf"), "{out}");
    let asked = hub.asked();
    let weights = |asked: &&String| asked.contains("pytorch_model.bin") && !asked.ends_with("0-0");
    let parts: Vec<&String> = asked.iter().filter(weights).collect();
    assert!(parts.last().is_some_and(|part| part.ends_with(" 60000-")), "{parts:?}");
    assert!(!asked.iter().any(|asked| asked.contains("README")), "{asked:?}");
    let file = home.path().join("models/codegen-350m-mono/codegen-350m-mono-q4_k_m.gguf");
    let pin = std::fs::read_to_string(file.with_file_name("codegen-350m-mono-q4_k_m.gguf.sha256")).unwrap();
    assert_eq!(pin.split(' ').next(), Some(&*hash(&file)));
    let downloads = |hub: &Hub| hub.asked().iter().filter(|asked| asked.contains("resolve")).count();
    let before = downloads(&hub);
    assert!(run(home.path(), &hub.endpoint, &pull, false).0);
    assert_eq!(downloads(&hub), before);
}

#[test]
fn what_the_hub_gives_is_checked_before_it_is_installed() {
    let home = tempfile::tempdir().unwrap();
    let files = BTreeMap::from([("k.gguf".to_owned(), b"GGUF".to_vec())]);
    let hub = Hub::serve("some/known", files);
    std::fs::create_dir(home.path().join("models")).unwrap();
    let manifest = "name = 'known'\nfile = 'known.gguf'\nlicence = 'MIT'\narchitecture = 'qwen2'\ncontext = 9\n\
                    prompt_style = 'completion'\nmemory_mb = 10\nsource = 'a friend'\n[hugging_face]\n\
                    repo = 'some/known'\nfile = 'k.gguf'\n";
    std::fs::write(home.path().join("models/known.toml"), manifest).unwrap();
    let (good, _, said) = run(home.path(), &hub.endpoint, &["models", "pull", "known"], false);
    assert!(!good && said.contains("truncated"), "{said}");
    assert!(!home.path().join("models/known").exists());
    let (good, _, said) =
        run(home.path(), "http://127.0.0.1:9", &["models", "pull", "codegen-2b-mono"], false);
    assert!(!good && said.contains("pulling model `codegen-2b-mono`"), "{said}");
}

#[test]
fn offline_refuses_before_anything_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::serve("Salesforce/codegen-350M-mono", codegen());
    for (flag, variable) in [(true, false), (false, true)] {
        let mut arguments = vec!["models", "pull", "codegen-350m-mono"];
        arguments.extend(flag.then_some("--offline"));
        let (good, _, said) = run(home.path(), &hub.endpoint, &arguments, variable);
        assert!(!good && said.contains("`--offline` or HF_HUB_OFFLINE"), "{said}");
    }
    assert!(hub.asked().is_empty());
}

fn hash(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}
