//! `generate`: one completion of a prompt, and how fast it was.
//!
//! One limit: the text is printed when it is whole.

use std::time::Instant;

use llmatic_offline::llm::{self, Control, Generator, Llm, LlmOptions, Request, Stop};
use llmatic_offline::rng::RootSeed;

use super::{machine_device, machine_threads, read};
use crate::cli::args::GenerateArgs;
use crate::cli::{Failure, printer};

/// `generate`
pub(crate) fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let prompt = read(&args.prompt_file)?;
    let device = match args.device.as_str() {
        "auto" => machine_device(),
        text => text.parse().map_err(|message| Failure::refused(format!("--device: {message}")))?,
    };
    let selection = llm::select(&args.model, None)?;
    if let Some(note) = &selection.note {
        printer::note(note);
    }
    let threads = if args.threads == 0 { machine_threads() } else { args.threads };
    let mut llm = Llm::load(&selection, &LlmOptions { device, threads, context: 0, rows: 1 })?;
    let request = Request {
        prompt,
        temperature: args.temperature,
        top_p: 1.0,
        top_k: 0,
        max_tokens: args.max_tokens,
        stream: RootSeed(args.seed).stream("generate", &[]),
        stop: if args.stop_at_class { Stop::ClassComplete } else { Stop::EndOfText },
    };
    let started = Instant::now();
    let mut first = None;
    let generator: &mut dyn Generator = &mut llm;
    let completions = generator.generate(&[request], &mut |progress| {
        if progress.tokens > 0 && first.is_none() {
            first = Some(started.elapsed().as_secs_f64());
        }
        Control::Continue
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let Some(completion) = completions.first() else {
        return Err(Failure::failed(format!("model `{}` gave no completion", args.model)));
    };
    printer::raw(&completion.text);
    let decode =
        completion.completion_tokens.saturating_sub(1) as f64 / (seconds - first.unwrap_or(0.0)).max(1e-9);
    printer::note(&format!(
        "{}: {} prompt tokens and {} new ones in {seconds:.1} s; first after {:.1} s, then {decode:.1} tokens/s",
        selection.manifest.name,
        completion.prompt_tokens,
        completion.completion_tokens,
        first.unwrap_or(seconds)
    ));
    Ok(())
}
