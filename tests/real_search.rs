//! The whole chain for real: the 0.5B model writes, libtorch trains Fashion-MNIST, and PyTorch runs the winner.
//!
//! One search runs without a network and undisturbed, on one thread; the same one is killed with `kill -9` on two
//! threads, resumed, and must end with the same digest. Needs the model and the data set (`scripts/setup.sh`) and, for
//! the last part, a Python with PyTorch (`--test-python`); without them the test is skipped, or fails where
//! `LLMATIC_REQUIRE_MODEL` is set.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

mod oracle;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use llmatic_offline::config::home;
use oracle::{present, python, tensor};
use safetensors::tensor::{Dtype, TensorView};

const PROGRAM: &str = env!("CARGO_BIN_EXE_llmatic-offline");
const FASHION: &str = "data/fashion-mnist/train-images-idx3-ubyte.gz";
const MODEL: &str = "models/qwen2.5-coder-0.5b/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";

fn arguments(out: &Path, threads: &str) -> Vec<String> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/smoke.toml");
    let words =
        ["search", "--config", config.to_str().unwrap(), "--model", "qwen2.5-coder-0.5b", "--seed", "3"];
    let more = ["--generations", "2", "--children", "3", "--device", "cpu", "--out", out.to_str().unwrap()];
    let threads = ["--threads", threads];
    words.iter().chain(&more).chain(&threads).map(|word| (*word).to_owned()).collect()
}

fn digest(run: &Path) -> String {
    let output = Command::new(PROGRAM).arg("digest").arg(run).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The command in a network namespace of its own, where such are allowed; else as it is, and the test says so.
fn without_network() -> Command {
    let allowed = Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|status| status.success());
    if allowed {
        let mut command = Command::new("unshare");
        command.args(["-rn", PROGRAM]);
        return command;
    }
    eprintln!("network namespaces are not allowed here; the search runs with the network in reach");
    Command::new(PROGRAM)
}

/// Start the search and kill it in the middle of its second generation.
fn start_and_kill(run: &Path) {
    let mut child = Command::new(PROGRAM)
        .args(arguments(run, "2"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let committed = || {
        let output = Command::new(PROGRAM).arg("digest").arg(run).stderr(Stdio::null()).output().unwrap();
        output.status.success() && output.stdout.len() > 60
    };
    while !committed() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(600), "no generation within ten minutes");
        std::thread::sleep(Duration::from_millis(50));
    }
    // SIGKILL: nothing is flushed or cleaned up.
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "the search ended before it was killed");
}

#[test]
fn a_real_search_needs_no_network_survives_kill_9_and_its_winner_runs_in_pytorch() {
    if !present(&home().join(MODEL)) || !present(&home().join(FASHION)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let output = without_network().args(arguments(&whole, "1")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    start_and_kill(&killed);
    let output = Command::new(PROGRAM).arg("resume").arg(&killed).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(digest(&whole), digest(&killed));

    for file in ["best.py", "best.safetensors", "report.html", "config.toml", "run.db"] {
        assert!(whole.join(file).exists(), "{file} was not written");
    }
    let Some(python) = python() else { return };
    // The winner, and every elite, repaired ones among them.
    agrees_with_pytorch(&python, &whole, "best");
    let elites: Vec<String> = std::fs::read_dir(whole.join("elites"))
        .unwrap()
        .filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix(".py")?.to_owned()))
        .collect();
    assert!(elites.len() > 1, "{elites:?}");
    for elite in elites {
        agrees_with_pytorch(&python, &whole.join("elites"), &elite);
    }
}

/// `predict` and PyTorch give the same logits for `NAME.py` with `NAME.safetensors` in `run`.
fn agrees_with_pytorch(python: &Path, run: &Path, name: &str) {
    let file = |ending: &str| run.join(format!("{name}.{ending}"));
    // reference.py takes NAME.weights.safetensors and NAME.input.safetensors.
    std::fs::copy(file("safetensors"), file("weights.safetensors")).unwrap();
    let pixels: Vec<u8> =
        (0..2 * 28 * 28).flat_map(|i| ((i * 37 % 255) as f32 / 255.0 - 0.5).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![2, 1, 28, 28], &pixels).unwrap();
    let input = safetensors::serialize([("x", view)], None).unwrap();
    std::fs::write(file("input.safetensors"), input).unwrap();
    let jobs = serde_json::json!([{"name": name, "source": file("py"), "folder": run}]);
    std::fs::write(run.join("jobs.json"), jobs.to_string()).unwrap();
    oracle::run(python, "reference.py", &["check".as_ref(), run.join("jobs.json").as_os_str()]);
    let error = file("error");
    assert!(!error.exists(), "{}", std::fs::read_to_string(error).unwrap());

    let ours = run.join("ours.safetensors");
    let output = Command::new(PROGRAM)
        .arg("predict")
        .arg(file("py"))
        .args(["--weights".as_ref(), file("safetensors").as_os_str()])
        .args(["--input".as_ref(), file("input.safetensors").as_os_str()])
        .args(["--output".as_ref(), ours.as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let logits = |path: &Path| tensor(path, "logits").1;
    let (ours, theirs) = (logits(&ours), logits(&file("checked.safetensors")));
    assert_eq!((ours.len(), theirs.len()), (20, 20));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() < 1e-4, "{name}: expected {theirs}, got {ours}");
    }
}
