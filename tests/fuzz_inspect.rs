//! Reading sources never panics and never runs away, whatever the text: mutated sources and sources made by a grammar.
//!
//! The cases are the same in every run: case N depends on N alone. `LLMATIC_FUZZ_SECONDS` makes it go on for longer,
//! and then a case that takes more than a second of processor time fails it too. A panic inside is caught by the
//! front-end and named "internal error", which this test refuses; what a case allocates is counted. Recorded
//! generations of `LLMATIC_SHARED` are mutated beside the fixtures where there are any. Limit: coverage is not
//! measured, so the mutations are not guided by it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say what they did")]

#[allow(dead_code, reason = "sizes of random networks are for the test that runs them")]
mod fuzz;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fuzz::networks::network;
use fuzz::{Random, hostile, made, mutated};
use llmatic_offline::descriptor;
use llmatic_offline::lower::{Network, Refusal, RepairSet, Request, Verdict, lower};
use llmatic_offline::python;

/// Cases of an ordinary run.
const CASES: u64 = 2_000;
/// Largest text of a case in bytes; larger ones are cut.
const MAX_BYTES: usize = 64 << 10;
/// Most that reading one source may hold at a time: limits are on counts, this is what they come to.
const MAX_HELD: usize = 512 << 20;
/// Most processor time of a case.
const MAX_TIME: Duration = Duration::from_secs(1);

/// Counts what is allocated.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came; only counters are changed besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Processor time of this process.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<_> = ["accept", "reject"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .collect();
    paths.sort();
    let mut sources: Vec<String> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let shared =
        std::env::var_os("LLMATIC_SHARED").map(|root| Path::new(&root).join("data/generations.jsonl"));
    if let Some(text) = shared.and_then(|path| std::fs::read_to_string(path).ok()) {
        let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        sources.extend(rows.map(|row| row["source"].as_str().unwrap().to_owned()));
    }
    sources
}

/// The text of a case.
fn text(random: &mut Random, sources: &[String]) -> String {
    let mut text = match random.below(6) {
        5 => {
            let source = network(random).text;
            mutated(random, &source, &sources[0])
        }
        0 => hostile(random),
        1 => made(random),
        2 => {
            let source = if random.below(2) == 0 { hostile(random) } else { made(random) };
            mutated(random, &source, &sources[0])
        }
        _ => {
            let (one, other) = (random.below(sources.len()), random.below(sources.len()));
            mutated(random, &sources[one], &sources[other])
        }
    };
    let end = (0..=MAX_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap();
    text.truncate(end);
    text
}

/// What `inspect` does with a text.
fn inspect(random: &mut Random, source: &str) -> Result<Network, Refusal> {
    let inputs: [&[usize]; 6] = [&[3, 32, 32], &[3, 32, 32], &[3, 32, 32], &[1, 28, 28], &[784], &[5, 3]];
    let entries = [None, None, None, None, None, Some("Net()"), Some("Net(10)"), Some(source)];
    let request = Request {
        entry: entries[random.below(entries.len())],
        repairs: if random.below(3) == 0 { RepairSet::all() } else { RepairSet::none() },
        ..Request::new(source, inputs[random.below(inputs.len())], Some(10).filter(|_| random.below(8) > 0))
    };
    let outcome = lower(&request);
    match &outcome {
        Ok(network) => {
            // What is accepted can be printed, described and identified.
            let printed = network.graph.to_pytorch("Net");
            assert!(!printed.is_empty());
            let again =
                lower(&Request { source: &printed, entry: None, repairs: RepairSet::none(), ..request });
            match again {
                Ok(again) => {
                    let (one, other) = (network.graph.architecture_id(), again.graph.architecture_id());
                    assert_eq!(one, other, "printed, it is another architecture:\n{printed}\n{source}");
                }
                // Constants of the network make a text longer than any that is read.
                Err(refusal) if printed.len() > python::MAX_BYTES => {
                    assert_eq!(refusal.verdict, Verdict::LimitExceeded, "{source}");
                }
                Err(refusal) => {
                    panic!("printed: {}\n{printed}\n{source}", refusal.render(&printed, "net.py"))
                }
            }
            assert!(descriptor::of(&network.graph).log_flops.is_finite());
            assert!(!network.graph.architecture_id().to_string().is_empty());
            network.graph.layers();
        }
        Err(refusal) => assert!(!refusal.render(source, "net.py").is_empty()),
    }
    outcome
}

#[test]
fn any_text_is_read_or_refused_within_the_limits() {
    let sources = sources();
    let seconds = std::env::var("LLMATIC_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let first = std::env::var("LLMATIC_FUZZ_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (mut accepted, mut slowest, mut largest) = (0u64, (Duration::ZERO, 0), (0, 0));
    let (mut case, mut failures) = (first, Vec::new());
    while case < first + CASES || until.is_some_and(|until| Instant::now() < until) {
        let mut random = Random(case);
        let source = text(&mut random, &sources);
        let (held, start) = (HELD.load(Ordering::Relaxed), processor_time());
        PEAK.store(held, Ordering::Relaxed);
        let outcome = inspect(&mut random, &source);
        let (took, held) = (processor_time() - start, PEAK.load(Ordering::Relaxed).saturating_sub(held));
        match outcome {
            Ok(_) => accepted += 1,
            Err(refusal) if refusal.message.contains("internal error") => {
                failures.push(format!("case {case}: {}\n{source}", refusal.message));
            }
            Err(_) => {}
        }
        if held > MAX_HELD {
            failures.push(format!("case {case}: {held} bytes held\n{source}"));
        }
        if seconds.is_some() && took > MAX_TIME {
            failures.push(format!("case {case}: {took:?}\n{source}"));
        }
        slowest = slowest.max((took, case));
        largest = largest.max((held, case));
        case += 1;
    }
    let cases = case - first;
    eprintln!("{cases} cases, {accepted} accepted");
    eprintln!("slowest: case {}, {:?} of processor time", slowest.1, slowest.0);
    eprintln!("largest: case {}, {} bytes held", largest.1, largest.0);
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert!(accepted > 0, "the generator makes no network");
}
