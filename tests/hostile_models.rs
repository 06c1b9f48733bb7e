//! Damaged and hostile model files: more than 10,000 mutations of the tiny fixtures (GGUF, safetensors, PyTorch
//! checkpoints, configs, tokenizers) either work or give an error that names the file and the place in it; none panics,
//! and none takes memory out of proportion to the file.
//!
//! The program's allocator is counted, so this file has one test and everything runs on one thread.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests are tests too")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use llmatic_offline::config::Device;
use llmatic_offline::llm::{Llm, LlmError, LlmOptions, Selection, convert, select};
use llmatic_offline::rng::{RootSeed, Stream};

/// Memory that may be in use beyond the start: a multiple of the file, and a base for what any load takes.
const MOST_TIMES: usize = 16;
const BASE: usize = 4 << 20;

struct Counting;

/// A single request for memory may be as large as the file, or as the largest buffer of fixed size (that of
/// hashing).
const BASE_AT_ONCE: usize = 1 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator; counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) };
    }
}

fn count(size: usize) {
    let live = LIVE.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(live, Ordering::Relaxed);
    LARGEST.fetch_max(size, Ordering::Relaxed);
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Changes a file in one to three places, most often where its structure is described.
fn mutate(original: &[u8], structure: usize, stream: &mut Stream) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let below = |stream: &mut Stream, most: usize| stream.below(most.max(1));
    for _ in 0..=below(stream, 2) {
        let within = if stream.below(4) == 0 { bytes.len() } else { structure.min(bytes.len()) };
        let at = below(stream, within);
        match stream.below(7) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << stream.below(8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte =
                        [0, 1, 0x20, 0x22, 0x7f, 0x80, 0xff, b'0' + stream.below(10) as u8][stream.below(8)];
                }
            }
            kind @ (3 | 4) => {
                let width = if kind == 3 { 4 } else { 8 };
                let value: u64 =
                    [0, 1, 255, 1 << 20, u64::from(u32::MAX), 1 << 31, 1 << 40, 1 << 62, u64::MAX]
                        [stream.below(9)];
                if let Some(place) = bytes.get_mut(at..at + width) {
                    place.copy_from_slice(&value.to_le_bytes()[..width]);
                }
            }
            5 => {
                let end = (at + 1 + below(stream, 40)).min(bytes.len());
                drop(bytes.drain(at.min(end)..end));
            }
            _ => {
                let end = (at + 1 + below(stream, 200)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                let to = below(stream, within);
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

/// Runs `action` on `rounds` mutations of the file at `path`; the errors must contain one of `names`.
fn attack(
    path: &Path,
    rounds: u64,
    structure: usize,
    names: &[&str],
    action: &dyn Fn() -> Result<(), LlmError>,
) {
    let original = std::fs::read(path).unwrap();
    action().unwrap_or_else(|error| panic!("the file as it is: {error}"));
    let (mut refused, mut most, mut largest) = (0, 0, 0);
    for round in 0..rounds {
        let mut stream = RootSeed(9).stream("mutation", &[round, original.len() as u64]);
        let bytes = mutate(&original, structure, &mut stream);
        std::fs::write(path, &bytes).unwrap();
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        LARGEST.store(0, Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(action));
        let used = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        let result = result.unwrap_or_else(|_| panic!("{} panics in round {round}", path.display()));
        let bound = BASE + MOST_TIMES * original.len().max(bytes.len());
        assert!(used <= bound, "{}: {used} bytes in round {round}, at most {bound}", path.display());
        most = most.max(used);
        let one = LARGEST.load(Ordering::Relaxed);
        let bound = BASE_AT_ONCE.max(original.len()).max(bytes.len());
        assert!(one <= bound, "{}: {one} bytes at once in round {round}, at most {bound}", path.display());
        largest = largest.max(one);
        if let Err(error) = result {
            refused += 1;
            let message = error.to_string();
            assert!(names.iter().any(|name| message.contains(name)), "round {round}: {message}");
            assert!(names_a_place(&message), "round {round}: no field and no place: {message}");
            assert!(message.len() < 2_000, "round {round}: a message of {} bytes", message.len());
        }
    }
    eprintln!("{}: {refused} of {rounds} refused, at most {most} bytes, {largest} at once", path.display());
    assert!(refused > rounds / 10, "{}: only {refused} of {rounds} refused", path.display());
    std::fs::write(path, original).unwrap();
}

/// Whether a message says where in the file the fault is: a field or tensor by name, a line, a byte, or the part that
/// has to be there before any field can be read.
fn names_a_place(message: &str) -> bool {
    ["`", " line ", "byte ", "metadata ", "tensor ", "header: ", "directory"]
        .iter()
        .any(|word| message.contains(word))
}

fn fixture(name: &str, to: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let folder = to.join(name);
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// Loads a model and computes a few logits.
fn use_model(selection: &Selection, path: &Path) -> Result<(), LlmError> {
    let selection = Selection { path: path.to_owned(), ..selection.clone() };
    let mut llm =
        Llm::load(&selection, &LlmOptions { device: Device::Cpu, threads: 1, context: 0, rows: 1 })?;
    let tokens = llm.tokens("class Net(nn.Module):\n    pass")?;
    if tokens.is_empty() || tokens.len() > llm.context() {
        return Ok(());
    }
    llm.logits(&tokens).map(drop)
}

#[test]
fn mutated_model_files_are_refused_by_name_without_a_panic_or_much_memory() {
    // Files are written and flushed thousands of times: in memory where that is possible.
    let memory = Path::new("/dev/shm");
    let work = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let codegen = fixture("codegen-tiny", work.path());
    let llama = fixture("llama-tiny", work.path());
    let gemma3 = fixture("gemma3-tiny", work.path());
    let experts = fixture("qwen3moe-tiny", work.path());
    let out = work.path().join("out.gguf");
    let again = |folder: &Path| convert(folder, "q8_0", &out, &mut |_| {}).map(drop);

    let model = work.path().join("model.gguf");
    for (folder, rounds) in [(&codegen, 3_000), (&llama, 1_000), (&gemma3, 500), (&experts, 1_000)] {
        convert(folder, "q4_0", &model, &mut |_| {}).unwrap();
        let selection = select(model.to_str().unwrap(), None).unwrap();
        let header = 16_000;
        attack(&model, rounds, header, &["model.gguf"], &|| use_model(&selection, &model));
    }

    attack(&llama.join("model.safetensors"), 1_500, 2_500, &["llama-tiny"], &|| again(&llama));
    attack(&llama.join("tokenizer.json"), 1_500, 7_000, &["llama-tiny"], &|| again(&llama));
    attack(&llama.join("config.json"), 500, 2_000, &["llama-tiny"], &|| again(&llama));
    for file in ["config.json", "vocab.json", "merges.txt", "added_tokens.json"] {
        attack(&codegen.join(file), 500, 4_000, &["codegen-tiny"], &|| again(&codegen));
    }
    attack(&gemma3.join("config.json"), 300, 2_000, &["gemma3-tiny"], &|| again(&gemma3));
    attack(&gemma3.join("tokenizer.json"), 300, 27_000, &["gemma3-tiny"], &|| again(&gemma3));
    attack(&experts.join("config.json"), 300, 2_000, &["qwen3moe-tiny"], &|| again(&experts));
    let index = experts.join("model.safetensors.index.json");
    attack(&index, 500, 5_000, &["qwen3moe-tiny"], &|| again(&experts));
    let shard = experts.join("model-00002-of-00002.safetensors");
    attack(&shard, 500, 5_000, &["qwen3moe-tiny"], &|| again(&experts));
    std::fs::remove_file(codegen.join("model.safetensors")).unwrap();
    let checkpoint = codegen.join("pytorch_model.bin");
    attack(&checkpoint, 1_500, 6_000, &["codegen-tiny"], &|| again(&codegen));
    // The directory of the archive is at its end.
    let original = std::fs::read(&checkpoint).unwrap();
    for round in 0..500u64 {
        let mut stream = RootSeed(9).stream("mutation of the end", &[round]);
        let (head, tail) = original.split_at(original.len() - 4_000);
        let bytes = [head, &mutate(tail, tail.len(), &mut stream)].concat();
        std::fs::write(&checkpoint, bytes).unwrap();
        if let Err(error) = again(&codegen) {
            assert!(
                error.to_string().contains("pytorch_model.bin") || error.to_string().contains("codegen-tiny")
            );
        }
    }
}
