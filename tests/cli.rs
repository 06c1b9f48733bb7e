//! The program from outside: exit codes, whole messages, JSON events, recorded completions, kill -9 and
//! resume.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The program with a home of its own, so that nothing installed on the machine matters.
fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmatic-offline"));
    command.env("LLMATIC_HOME", home).env("HF_HOME", home.join("hf")).current_dir(home);
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    program(home).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code and standard error.
fn refused(home: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(home, arguments);
    assert_eq!(text(&output.stdout), "", "nothing on standard output");
    (output.status.code().unwrap(), text(&output.stderr))
}

/// A home with `script.jsonl`, recorded completions: networks of many widths, copies and nonsense.
fn home() -> TempDir {
    let home = TempDir::new().unwrap();
    let mut lines = String::new();
    for (index, width) in [8usize, 16, 24, 32, 48, 64, 80, 96, 112, 128].into_iter().enumerate() {
        for deep in [false, true] {
            let more = if deep {
                format!("        self.fc3 = nn.Linear({width}, {})\n", width / 2 + 1)
            } else {
                String::new()
            };
            let (last, through) =
                if deep { (width / 2 + 1, "        x = F.relu(self.fc3(x))\n") } else { (width, "") };
            let channels = 1 + index % 4;
            let completion = format!(
                "    def __init__(self):\n        super().__init__()\n        \
                 self.conv = nn.Conv2d(1, {channels}, 3, stride=2)\n        \
                 self.fc1 = nn.Linear({channels} * 13 * 13, {width})\n{more}        \
                 self.fc2 = nn.Linear({last}, 10)\n\n    def forward(self, x):\n        \
                 x = F.relu(self.conv(x))\n        x = torch.flatten(x, 1)\n        \
                 x = F.relu(self.fc1(x))\n{through}        return self.fc2(x)\n"
            );
            lines.push_str(&serde_json::json!({ "completion": completion }).to_string());
            lines.push('\n');
        }
    }
    lines.push_str("{\"completion\": \"    def __init__(self:\\n\"}\n");
    std::fs::write(home.path().join("script.jsonl"), lines).unwrap();
    home
}

const DRY: [&str; 5] = ["search", "--model", "scripted:script.jsonl", "--dataset", "surrogate"];

fn dry<'a>(more: &[&'a str]) -> Vec<&'a str> {
    DRY.iter().copied().chain(more.iter().copied()).collect()
}

fn digest(home: &Path, directory: &str) -> String {
    let output = run(home, &["digest", directory]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn arms_are_compared_seed_by_seed_and_finished_runs_are_not_run_again() {
    let home = home();
    std::fs::write(home.path().join("dry.toml"), "[data]\nname = \"surrogate\"\n").unwrap();
    let compare = |more: &[&str]| {
        let shared = [
            "bench",
            "operators",
            "--config",
            "dry.toml",
            "--model",
            "scripted:script.jsonl",
            "--out",
            "ops",
        ];
        let output = run(home.path(), &[&shared, more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (table, said) = compare(&["--arms", "typed,rewrite", "--seeds", "2", "--evaluations", "9"]);
    let row = |name: &str| table.lines().find(|line| line.starts_with(&format!("| {name} | "))).unwrap();
    for name in ["typed", "rewrite"] {
        assert!(row(name).starts_with(&format!("| {name} | 2 | 9 ± 0 | ")), "{table}");
    }
    assert!(row("typed").contains(" | 0 ± 0 | 0 ± 0 | "), "typed edits write no tokens: {table}");
    assert!(said.find("typed, seed 0") < said.find("rewrite, seed 0"), "{said}");
    assert!(said.find("rewrite, seed 0") < said.find("typed, seed 1"), "{said}");
    let (again, said) = compare(&["--arms", "typed,rewrite", "--seeds", "2", "--evaluations", "9"]);
    assert_eq!(again, table);
    assert_eq!(said.matches("done before").count(), 4, "{said}");
    std::fs::write(home.path().join("typed.toml"), "seed = 1\n[search]\nchildren = 0\n").unwrap();
    let refusal = |arms: &str, seed: &str| {
        let arguments = ["bench", "operators", "--config", "dry.toml", "--arms", arms, "--first-seed", seed];
        refused(home.path(), &arguments)
    };
    let (exit, said) = refusal("typed.toml", "0");
    assert!(exit == 1 && said.contains("typed.toml:3: search.children: expected 1 to 10000"), "{said}");
    std::fs::write(home.path().join("typed.toml"), "[search]\nchildren = 3\n").unwrap();
    let (exit, said) = refusal("typed,typed.toml", "0");
    assert!(exit == 1 && said.contains("different folders, got typed and typed.toml"), "{said}");
    let (exit, said) = refusal("typed", "9223372036854775807");
    assert!(exit == 1 && said.contains("seeds below 2^63"), "{said}");
    let (one, said) = compare(&["--seeds", "1", "--evaluations", "9", "--arms", "rewrite"]);
    assert!(one.contains("| rewrite | 1 | 9 | ") && said.contains("done before"), "{one}{said}");
}

#[test]
fn a_dry_run_ends_with_a_summary_and_every_file() {
    let home = home();
    let output = run(home.path(), &dry(&["--generations", "3", "--children", "6"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("source:  runs/001/best.py") && said.contains("niches filled"), "{said}");
    for name in ["run.db", "config.toml", "best.py", "report.html"] {
        assert!(home.path().join("runs/001").join(name).exists(), "{name}");
    }
    assert!(said.contains(digest(home.path(), "runs/001").trim()), "{said}");
    let page = std::fs::read_to_string(home.path().join("runs/001/report.html")).unwrap();
    assert!(
        page.contains("<svg") && !page.contains("http://") && !page.contains("https://"),
        "self-contained"
    );
    assert!(page.contains(digest(home.path(), "runs/001").trim()), "the digest is in the page");
    let progress = text(&output.stderr);
    assert_eq!(progress.lines().filter(|line| line.starts_with("generation ")).count(), 4, "{progress}");
}

#[test]
fn what_an_llm_writes_is_text_in_the_report_and_no_part_of_the_page() {
    let home = home();
    let completion = "    def __init__(self):\n        super().__init__()\n        \
                      # <script>alert(1)</script>\n        \
                      self.fc1 = nn.Linear(784, 10)\n\n    def forward(self, x):\n        return \
                      self.fc1(x.flatten(1))\n";
    let line = serde_json::json!({ "completion": completion }).to_string();
    std::fs::write(home.path().join("script.jsonl"), line).unwrap();
    assert!(run(home.path(), &dry(&["--generations", "2", "--children", "2"])).status.success());
    let shown = home.path().join("runs/001/report.html");
    std::fs::remove_file(&shown).unwrap();
    assert!(run(home.path(), &["report", "runs/001"]).status.success());
    let page = std::fs::read_to_string(shown).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"), "the network is shown");
    assert!(!page.contains("<script>alert"), "as text");
}

#[test]
fn defect_7_a_candidate_that_would_do_something_else_is_refused_and_never_kept() {
    let home = home();
    let recorded = std::fs::read_to_string(home.path().join("script.jsonl")).unwrap();
    let mut lines = String::new();
    for line in recorded.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = row["completion"].as_str().unwrap().replace(
            "super().__init__()\n",
            "super().__init__()\n        __import__('os').system('touch m')\n",
        );
        lines.push_str(&format!("{}\n", serde_json::json!({ "completion": text + "\nopen('m', 'w')\n" })));
    }
    std::fs::write(home.path().join("script.jsonl"), lines).unwrap();
    let output = run(home.path(), &dry(&["--generations", "2", "--children", "4"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains(" 0 valid, 0 trained;"), "{said}");
    let kept = std::fs::read_to_string(home.path().join("runs/001/best.py")).unwrap();
    assert!(!kept.contains("system") && !kept.contains("open("), "{kept}");
    assert!(!home.path().join("m").exists());
}

#[test]
fn a_converted_model_is_listed_shown_asked_and_timed() {
    let home = home();
    let said = |arguments: &[&str]| {
        let output = run(home.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codegen-tiny");
    said(&["models", "convert", source.to_str().unwrap(), "--quantize", "f16", "--output", "tiny.gguf"]);
    said(&["models", "import", "tiny.gguf", "--name", "tiny"]);
    let list = said(&["models", "list"]);
    assert!(list.lines().any(|line| line.starts_with("tiny ") && line.ends_with("tiny.gguf")), "{list}");
    let shown = said(&["models", "show", "tiny"]);
    assert!(shown.contains("codegen") && shown.contains("192"), "architecture and context: {shown}");
    std::fs::write(home.path().join("prompt.txt"), "class Net(nn.Module):\n").unwrap();
    let generate = |seed: &str| {
        let asked = ["generate", "--model", "tiny", "--prompt-file", "prompt.txt", "--threads", "1"];
        let more = ["--max-tokens", "12", "--temperature", "1.5", "--seed", seed, "--device", "cpu"];
        said(&[&asked[..], &more].concat())
    };
    assert_eq!(generate("1"), generate("1"));
    assert_ne!(generate("1"), generate("2"));
    let timed = ["bench", "llm", "--model", "tiny", "--threads", "1", "--repeats", "1", "--rows", "2"];
    let timed = said(&[&timed[..], &["--prompt-tokens", "20", "--new-tokens", "5", "--json"]].concat());
    let timed: serde_json::Value = serde_json::from_str(&timed).unwrap();
    assert!(timed.to_string().contains("prefill"), "{timed}");
}

#[test]
fn json_events_are_one_object_per_line_and_end_with_the_summary() {
    let home = home();
    let output = run(home.path(), &dry(&["--generations", "1", "--children", "3", "--json"]));
    let events: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "started");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "finished");
    assert_eq!(format!("{}\n", last["digest"].as_str().unwrap()), digest(home.path(), "runs/001"));
    assert_eq!(events.iter().filter(|event| event["event"] == "generation").count(), 2);
}

#[test]
fn the_same_seed_twice_gives_the_same_digest_whatever_the_threads() {
    let home = home();
    for (out, seed, threads) in [("a", "1", "1"), ("b", "1", "2"), ("c", "2", "1")] {
        let more =
            ["--seed", seed, "--threads", threads, "--out", out, "--generations", "3", "--children", "5"];
        assert!(run(home.path(), &dry(&more)).status.success());
    }
    assert_eq!(digest(home.path(), "a"), digest(home.path(), "b"));
    assert_ne!(digest(home.path(), "a"), digest(home.path(), "c"));
}

#[test]
fn kill_9_at_ten_moments_each_resumed_gives_the_digest_of_the_undisturbed_run() {
    let home = home();
    let size = ["--generations", "40", "--children", "8"];
    let started = Instant::now();
    assert!(run(home.path(), &dry(&[&size[..], &["--out", "whole"]].concat())).status.success());
    let whole = started.elapsed();
    let reference = digest(home.path(), "whole");
    let mut killed_inside = 0;
    for attempt in 0..10u32 {
        let out = format!("killed{attempt}");
        let mut child = program(home.path())
            .args(dry(&[&size[..], &["--out", &out]].concat()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the run, at odd offsets.
        std::thread::sleep(whole.mul_f64(0.03 + f64::from(attempt) * 0.0917));
        child.kill().unwrap();
        let killed = child.wait().unwrap().signal() == Some(9);
        let output = run(home.path(), &["resume", &out]);
        let output = if output.status.success() {
            killed_inside += u32::from(killed);
            output
        } else {
            // Killed before the run existed: the folder may be used again.
            assert!(text(&output.stderr).contains("holds no run"), "{}", text(&output.stderr));
            run(home.path(), &dry(&[&size[..], &["--out", &out]].concat()))
        };
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(digest(home.path(), &out), reference, "killed at moment {attempt}");
    }
    assert!(killed_inside >= 5, "{killed_inside} of 10 runs had begun, and were killed");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_cleanly_and_says_how_to_go_on() {
    let home = home();
    let size = ["--generations", "2000", "--children", "8", "--out", "long"];
    let child = program(home.path()).args(dry(&size)).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !run(home.path(), &["digest", "long"]).status.success() {
        assert!(Instant::now() < deadline, "no generation within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.ends_with("hint: go on with: llmatic-offline resume long\n"), "{said}");
    digest(home.path(), "long");
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_one_error_that_names_the_file_and_the_run_stays_resumable() {
    let home = home();
    let size = ["--generations", "6", "--children", "8"];
    assert!(run(home.path(), &dry(&[&size[..], &["--out", "whole"]].concat())).status.success());
    // A limit on the size of files stands for the disk: writing beyond it fails, as on a full one.
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 300; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_llmatic-offline"),
        ])
        .args(dry(&[&size[..], &["--out", "full"]].concat()))
        .env("LLMATIC_HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("error: full/run.db: ") && said.contains("hint: free some space"), "{said}");
    let output = run(home.path(), &["resume", "full"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(digest(home.path(), "full"), digest(home.path(), "whole"));
}

#[test]
fn folders_that_cannot_be_used_are_refused_in_one_message() {
    let home = home();
    assert!(run(home.path(), &dry(&["--generations", "0", "--out", "r"])).status.success());
    assert_eq!(
        refused(home.path(), &dry(&["--out", "r"])),
        (1, "error: r holds a run already\nhint: continue it with: llmatic-offline resume r\n".into())
    );
    std::fs::create_dir(home.path().join("other")).unwrap();
    std::fs::write(home.path().join("other/thesis.txt"), "precious").unwrap();
    assert_eq!(
        refused(home.path(), &dry(&["--out", "other"])),
        (1, "error: other is not empty and is not a run\nhint: choose another folder with --out\n".into())
    );
    assert_eq!(
        refused(home.path(), &["resume", "other"]),
        (
            1,
            "error: other holds no run (there is no run.db)\n\
             hint: a run is made by: llmatic-offline search --out DIR\n"
                .into()
        )
    );
    for out in ["script.jsonl", "script.jsonl/run"] {
        let (exit, said) = refused(home.path(), &dry(&["--out", out]));
        assert!(exit == 1 && said.contains("choose another with --out"), "{exit} {said}");
    }
    std::fs::create_dir(home.path().join("damaged")).unwrap();
    for content in [
        "",
        "no database at all, but long enough to have a header of a hundred bytes or more, and then some more words",
    ] {
        std::fs::write(home.path().join("damaged/run.db"), content).unwrap();
        for command in ["digest", "resume"] {
            let (exit, said) = refused(home.path(), &[command, "damaged"]);
            assert!(exit == 3 && said.contains("it is damaged, or no run of this program"), "{exit} {said}");
        }
    }
    std::fs::create_dir_all(home.path().join("folder/run.db")).unwrap();
    let (exit, said) = refused(home.path(), &["digest", "folder"]);
    assert!(exit == 3 && said.contains("run.db: expected a file, got a folder"), "{exit} {said}");
    assert!(run(home.path(), &dry(&["--out", "edited"])).status.success());
    let database = rusqlite::Connection::open(home.path().join("edited/run.db")).unwrap();
    database.execute("UPDATE candidate SET verdict = 'splendid'", []).unwrap();
    drop(database);
    let (exit, said) = refused(home.path(), &["digest", "edited"]);
    assert!(exit == 3 && said.contains("it is damaged"), "{exit} {said}");
    let (exit, said) = refused(home.path(), &dry(&["--out", "/proc/run"]));
    assert!(exit == 3 && said.starts_with("error: /proc/run"), "{exit} {said}");
}

#[test]
fn wrong_run_files_are_refused_with_file_and_line() {
    let home = home();
    let with = |content: &str| {
        std::fs::write(home.path().join("run.toml"), content).unwrap();
        refused(home.path(), &dry(&["--config", "run.toml"]))
    };
    assert_eq!(
        with("[train]\nlearning_rte = 1\n"),
        (
            1,
            "error: run.toml:2: unknown key train.learning_rte\n\
             hint: the nearest known key is train.learning_rate\n"
                .into()
        )
    );
    let (exit, said) = with("[limits]\nmacs = 10\n");
    assert!(exit == 1 && said.contains("seed network") && said.contains("[limits]"), "{said}");
    assert!(!home.path().join("runs").exists(), "nothing was begun");
    let (exit, said) = with("seed = = 1\n");
    assert!(exit == 1 && said.starts_with("error: run.toml:1: "), "{said}");
    assert_eq!(
        refused(home.path(), &dry(&["--children", "0"])),
        (1, "error: --children: search.children: expected 1 to 10000, got 0\n".into())
    );
    let (exit, said) = refused(home.path(), &dry(&["--config", "nowhere.toml"]));
    assert!(exit == 1 && said.starts_with("error: nowhere.toml: "), "{said}");
}

#[test]
fn unknown_and_missing_models_are_refused_by_name() {
    let home = home();
    let (exit, said) = refused(home.path(), &["search", "--dataset", "surrogate", "--model", "gpt-9"]);
    assert!(exit == 1 && said.starts_with("error: unknown model `gpt-9`"), "{said}");
    let (exit, said) =
        refused(home.path(), &["search", "--dataset", "surrogate", "--model", "qwen2.5-coder-0.5b"]);
    assert!(exit == 1 && said.contains("is not installed") && said.lines().count() <= 2, "{said}");
    let (exit, said) =
        refused(home.path(), &["search", "--dataset", "surrogate", "--model", "scripted:none.jsonl"]);
    assert!(exit == 1 && said.contains("none.jsonl"), "{said}");
    std::fs::write(home.path().join("bad.jsonl"), "{\"text\": 1}\n").unwrap();
    let (exit, said) =
        refused(home.path(), &["search", "--dataset", "surrogate", "--model", "scripted:bad.jsonl"]);
    let expected = "bad.jsonl: line 1: expected a text \"completion\", got none\n\
                    hint: expected one JSON object per line with a text \"completion\"\n";
    assert!(exit == 1 && said.ends_with(expected), "{said}");
    assert!(!home.path().join("runs").exists(), "nothing was begun");
}

#[test]
fn wrong_use_of_the_command_line_is_exit_code_2_and_help_is_0() {
    let home = TempDir::new().unwrap();
    assert_eq!(refused(home.path(), &["search", "--sed", "1"]).0, 2);
    let help = run(home.path(), &["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("Exit codes:"));
}

#[test]
fn inspect_says_verdict_layers_and_cost_and_refuses_with_line_and_caret() {
    let home = home();
    let write = |name: &str, content: &str| -> PathBuf {
        let path = home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let net = "import torch\nimport torch.nn as nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        \
         super().__init__()\n        self.fc = nn.Linear(784, 10)\n\n    def forward(self, x):\n        \
         return self.fc(torch.flatten(x, 1))\n";
    write("net.py", net);
    let output = run(home.path(), &["inspect", "net.py", "--input", "1,28,28", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["verdict"], "accepted");
    assert_eq!((object["params"].as_u64(), object["macs"].as_u64()), (Some(7850), Some(7840)));
    assert_eq!(object["output_shape"], serde_json::json!([1, 10]));
    assert_eq!(object["repairs"], serde_json::json!([]));
    // A network that a search wrote says its sizes itself.
    write("told.py", &format!("# Input (N, 1, 28, 28), output (N, 10).\n{net}"));
    let itself = run(home.path(), &["inspect", "told.py", "--json"]);
    assert_eq!(itself.stdout, output.stdout);
    let output = run(home.path(), &["inspect", "net.py", "--input", "1,28,28"]);
    let said = text(&output.stdout);
    assert!(said.starts_with("verdict: accepted") && said.contains("parameters 7,850, MACs 7,840"), "{said}");

    write("broken.py", "class Net(nn.Module:\n    pass\n");
    let output = run(home.path(), &["inspect", "broken.py"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: ") && said.contains('^') && said.contains("broken.py"), "{said}");
    let output = run(home.path(), &["inspect", "broken.py", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["verdict"], "syntax_error");
}

#[test]
fn a_source_finds_its_neighbours_and_the_package_that_it_is_a_part_of() {
    let home = home();
    let folder = home.path().join("zoo/nets");
    std::fs::create_dir_all(&folder).unwrap();
    let block = "import torch.nn as nn\n\nclass Block(nn.Sequential):\n    def __init__(self, width):\n        \
                 super().__init__(nn.Flatten(), nn.Linear(784, width))\n";
    std::fs::write(folder.join("block.py"), block).unwrap();
    let inspected = |import: &str| {
        let net = format!(
            "import torch.nn as nn\n{import}\n\nclass Net(Block):\n    def __init__(self):\n        \
                           super().__init__(10)\n"
        );
        std::fs::write(folder.join("net.py"), net).unwrap();
        let output = run(home.path(), &["inspect", "zoo/nets/net.py", "--input", "1,28,28", "--json"]);
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        object["params"].as_u64()
    };
    assert_eq!(inspected("from block import Block"), Some(7850), "beside it");
    assert_eq!(inspected("from zoo.nets.block import Block"), None, "zoo is no package yet");
    for package in ["zoo", "zoo/nets"] {
        std::fs::write(home.path().join(package).join("__init__.py"), "").unwrap();
    }
    for import in
        ["from .block import Block", "from zoo.nets.block import Block", "from ..nets.block import Block"]
    {
        assert_eq!(inspected(import), Some(7850), "{import}");
    }
}

#[test]
fn doctor_says_what_is_missing_and_where_it_goes() {
    let home = TempDir::new().unwrap();
    let output = run(home.path(), &["doctor"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("qwen2.5-coder-0.5b") && said.contains("not installed"), "{said}");
    assert!(said.contains("data fashion-mnist: not installed") && said.contains("missing: "), "{said}");
    let folder = home.path().join("data/cifar10/cifar-10-batches-bin");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["data_batch_1.bin", "test_batch.bin"] {
        std::fs::write(folder.join(name), [0; 1_000_000]).unwrap();
    }
    let said = text(&run(home.path(), &["doctor"]).stdout);
    assert!(said.contains("data/cifar10 (2 files, 2 MB)"), "{said}");
}

#[test]
fn operators_are_compared_from_runs_and_from_the_tables_of_several_machines() {
    let home = home();
    std::fs::write(
        home.path().join("dry.toml"),
        "[data]\nname = \"surrogate\"\n[model]\nname = \"scripted:script.jsonl\"\n[search]\nchildren = 4\n",
    )
    .unwrap();
    let compare = |seeds: [&str; 4], out: &str| {
        let arms =
            ["bench", "operators", "--config", "dry.toml", "--arms", "typed,rewrite", "--evaluations", "6"];
        let output = run(home.path(), &[&arms[..], &seeds[..], &["--out", out]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let whole = compare(["--seeds", "2", "--first-seed", "0"], "whole");
    assert!(whole.contains("| typed | 2 | 6 ± 0 |") && whole.contains("| minus typed | seeds |"), "{whole}");
    compare(["--seeds", "1", "--first-seed", "0"], "a");
    compare(["--seeds", "1", "--first-seed", "1"], "b");
    let merge = |files: &str| run(home.path(), &["bench", "operators", "--merge", files]);
    assert_eq!(text(&merge("whole/operators.csv").stdout), whole);
    // The time of the quickest run is another one in each part, so that they do not add up.
    let (code, message) =
        refused(home.path(), &["bench", "operators", "--merge", "a/operators.csv,b/operators.csv"]);
    assert!(code == 1 && message.contains("b/operators.csv: expected runs of 6 evaluations"), "{message}");
    let (code, message) = refused(home.path(), &["bench", "operators", "--merge", "script.jsonl"]);
    assert!(code == 1 && message.contains("script.jsonl: line 1: expected `arm,seed"), "{message}");
    let same = std::fs::read_to_string(home.path().join("a/operators.csv")).unwrap();
    let other: String = same.lines().map(|line| line.replacen(",0,6,", ",7,6,", 1) + "\n").collect();
    std::fs::write(home.path().join("c.csv"), other).unwrap();
    let output = merge("a/operators.csv,c.csv");
    assert!(text(&output.stdout).contains("| rewrite | 2 |"), "{}", text(&output.stderr));
    // A later call in the same folder keeps the runs of earlier ones, in its own time.
    compare(["--seeds", "1", "--first-seed", "1"], "a");
    assert!(text(&merge("a/operators.csv").stdout).contains("| rewrite | 2 |"));
    std::fs::write(home.path().join("a/operators.csv"), "mine\n").unwrap();
    let again =
        ["bench", "operators", "--config", "dry.toml", "--arms", "typed", "--evaluations", "6", "--out", "a"];
    let (code, message) = refused(home.path(), &again);
    assert!(
        code == 1 && message.contains("a/operators.csv: line 1") && message.contains("--out"),
        "{message}"
    );
}
