//! `bench llm`: the engine's rates on this machine, beside what its memory and its int8 units allow.
//!
//! One limit: other work on the machine makes every number worse and is not noticed.

use std::path::PathBuf;
use std::time::Instant;

use llmatic_offline::bench::llm::{LlmBench, LlmRates, MachineRates, machine, measure};
use llmatic_offline::config::Device;
use llmatic_offline::llm::{self, Llm, LlmOptions, MemoryPlan, Selection, Work};

use super::bench_prompts::vocabulary;
use crate::cli::args::BenchLlmArgs;
use crate::cli::{Failure, printer};

/// What was measured with one number of threads.
struct Row {
    threads: usize,
    rates: LlmRates,
    machine: MachineRates,
    work: Work,
    plan: MemoryPlan,
}

/// A file that goes when this does.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `bench llm`
pub(crate) fn bench_llm(args: &BenchLlmArgs) -> Result<(), Failure> {
    let (selection, _random) = match &args.shape {
        None => (llm::select(&args.model, None)?, None),
        Some(shape) => {
            let name = format!("{shape}-{}-random-{}.gguf", args.quantize, std::process::id());
            let file = Temporary(std::env::temp_dir().join(name));
            llm::write_random(shape, &args.quantize, &file.0)?;
            (llm::select(&file.0.to_string_lossy(), None)?, Some(file))
        }
    };
    if let Some(note) = &selection.note {
        printer::note(note);
    }
    let rows =
        args.threads.iter().map(|threads| row(args, &selection, *threads)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        printer::data(&json(args, &selection, &rows));
    } else {
        printer::data(&table(&selection, &rows));
    }
    Ok(())
}

fn row(args: &BenchLlmArgs, selection: &Selection, threads: usize) -> Result<Row, Failure> {
    let started = Instant::now();
    let clock = || started.elapsed().as_secs_f64();
    let machine = machine(threads, args.repeats, &clock)?;
    // A tokenizer need not meet the prompt's length.
    let context = args.prompt_tokens + args.new_tokens + 16;
    let options = LlmOptions { device: Device::Cpu, threads, context, rows: args.rows };
    let mut llm = Llm::load(selection, &options)?;
    llm.set_vocabulary(vocabulary(args.working_vocabulary))?;
    let bench = LlmBench {
        prompt_tokens: args.prompt_tokens,
        new_tokens: args.new_tokens,
        rows: args.rows,
        repeats: args.repeats,
    };
    let rates = measure(&mut llm, bench, &clock)?;
    Ok(Row { threads, rates, machine, work: llm.work(), plan: llm.memory_plan() })
}

impl Row {
    /// How much of the memory's rate one row's decoding reaches.
    fn bandwidth_share(&self) -> f64 {
        self.rates.decode * self.work.bytes as f64 / self.machine.bandwidth
    }

    /// How much of the int8 units' rate prefill reaches; the head is computed for one token.
    fn products_share(&self) -> f64 {
        let per_token = self.work.products as f64
            + self.work.head_products as f64 / self.rates.prompt_tokens.max(1) as f64;
        self.rates.prefill * per_token / self.machine.products
    }
}

fn table(selection: &Selection, rows: &[Row]) -> String {
    let mut lines = vec![
        format!("{}, tokens per second", selection.manifest.name),
        String::new(),
        "| threads | prefill | one row | generation | without lookup | one at a time |".into(),
        "|---|---|---|---|---|---|".into(),
    ];
    lines.extend(rows.iter().map(|row| {
        let LlmRates { prefill, decode, generation, generation_without_lookup, one_at_a_time, .. } =
            &row.rates;
        format!(
            "| {} | {prefill:.0} | {decode:.1} | {generation:.0} | {generation_without_lookup:.0} | \
             {one_at_a_time:.0} |",
            row.threads
        )
    }));
    lines.push(String::new());
    for row in rows {
        let (machine, rates) = (&row.machine, &row.rates);
        lines.push(format!(
            "{} threads: memory {:.1} GB/s, of which one row reaches {:.0} %; {} {:.0} G products/s, of which prefill \
             reaches {:.0} %",
            row.threads,
            machine.bandwidth / 1e9,
            100.0 * row.bandwidth_share(),
            machine.instructions,
            machine.products / 1e9,
            100.0 * row.products_share(),
        ));
        lines.push(format!(
            "a prompt of {} tokens; {} new ones by a generation; weights {} MB, peak memory of the process {} MB",
            rates.prompt_tokens,
            rates.generation_tokens,
            row.plan.weights_bytes / 1_000_000,
            peak_mb()
        ));
    }
    lines.join("\n")
}

fn json(args: &BenchLlmArgs, selection: &Selection, rows: &[Row]) -> String {
    let row = |row: &Row| {
        serde_json::json!({
            "threads": row.threads,
            "prompt_tokens": row.rates.prompt_tokens,
            "prefill": row.rates.prefill,
            "decode": row.rates.decode,
            "generation": row.rates.generation,
            "generation_without_lookup": row.rates.generation_without_lookup,
            "one_at_a_time": row.rates.one_at_a_time,
            "generation_tokens": row.rates.generation_tokens,
            "bandwidth": row.machine.bandwidth,
            "products": row.machine.products,
            "instructions": row.machine.instructions,
            "bandwidth_share": row.bandwidth_share(),
            "products_share": row.products_share(),
            "weights_bytes": row.plan.weights_bytes,
        })
    };
    let value = serde_json::json!({
        "model": selection.manifest.name,
        "file": selection.path,
        "new_tokens": args.new_tokens,
        "children": args.rows,
        "repeats": args.repeats,
        "prompt": rows.first().map(|row| row.rates.prompt.as_str()),
        "peak_memory_mb": peak_mb(),
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{value:#}")
}

/// Most memory that this process held, as Linux tells it; 0 elsewhere.
fn peak_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024 / 1_000_000
}
