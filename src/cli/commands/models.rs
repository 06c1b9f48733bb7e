//! `models list|show|verify|pull|import|convert`: which models are known, what is on this machine, and how one gets
//! there.

use std::path::Path;

use llmatic_offline::llm::{self, Manifest};

use crate::cli::args::{ModelsArgs, ModelsCommand};
use crate::cli::{Failure, printer};

/// `models`
pub(crate) fn models(args: &ModelsArgs) -> Result<(), Failure> {
    match &args.command {
        ModelsCommand::List => printer::data(&list()?),
        ModelsCommand::Show { name } => printer::data(&show(name)?),
        ModelsCommand::Verify { name } => printer::data(&verified(&llm::verify(name)?)),
        ModelsCommand::Pull { name, offline } => {
            let asked = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
            let offline = *offline || matches!(asked.as_str(), "1" | "TRUE" | "YES" | "ON");
            printer::data(&verified(&pull(name, offline)?));
        }
        ModelsCommand::Import { source, name } => printer::data(&verified(&llm::import(source, name)?)),
        ModelsCommand::Convert { folder, quantize, output } => {
            printer::data(&convert(folder, quantize, output)?);
        }
    }
    Ok(())
}

/// Everything known about one model.
fn show(name: &str) -> Result<String, Failure> {
    // What is known does not depend on whether the file is here.
    let known = llm::manifests()?.into_iter().find(|manifest| manifest.name == name);
    let (manifest, path) = match known {
        Some(manifest) => {
            let path = llm::installed_path(&manifest);
            (manifest, path)
        }
        None => {
            let selection = llm::select(name, None)?;
            (selection.manifest, Some(selection.path))
        }
    };
    let place = match path {
        Some(path) => path.display().to_string(),
        None => format!("not installed; goes to {}", llm::model_folder(&manifest).display()),
    };
    let or_unknown = |text: String| if text.is_empty() || text == "0" { "not known".into() } else { text };
    let rows = [
        ("name", manifest.name.clone()),
        ("file", manifest.file.clone()),
        ("where", place),
        ("bytes", or_unknown(manifest.bytes.to_string())),
        ("sha256", or_unknown(manifest.sha256.clone())),
        ("architecture", manifest.architecture.clone()),
        ("context", format!("{} tokens", manifest.context)),
        ("memory", format!("{} MB (8 rows of 2048 tokens)", manifest.memory_mb)),
        ("prompt style", format!("{:?}", manifest.prompt_style).to_lowercase()),
        ("licence", manifest.licence.clone()),
        ("source", manifest.source.clone()),
    ];
    let lines: Vec<String> = rows.iter().map(|(key, value)| format!("{key:<14}{value}")).collect();
    Ok(lines.join("\n"))
}

fn pull(name: &str, offline: bool) -> Result<llm::Verified, Failure> {
    let mut said = (String::new(), 0);
    Ok(llm::pull(name, offline, &mut |progress| {
        let tenth = progress.bytes * 10 / progress.total_bytes.max(1);
        if said != (progress.file.clone(), tenth) {
            said = (progress.file.clone(), tenth);
            let megabytes = progress.total_bytes.div_ceil(1_000_000);
            printer::note(&format!("{}: {} % of {megabytes} MB", progress.file, 10 * tenth));
        }
    })?)
}

fn verified(file: &llm::Verified) -> String {
    let judged = if file.pinned { "as pinned" } else { "nothing to compare with" };
    format!("{}\n{} bytes, sha256 {} ({judged})", file.path.display(), file.bytes, file.sha256)
}

fn convert(folder: &Path, quantize: &str, output: &Path) -> Result<String, Failure> {
    let mut tenth = 0;
    let report = llm::convert(folder, quantize, output, &mut |progress| {
        let now = progress.bytes * 10 / progress.total_bytes.max(1);
        if now > tenth {
            tenth = now;
            printer::note(&format!("{} % of {} MB", 10 * now, progress.total_bytes / 1_000_000));
        }
    })?;
    let mut text = format!(
        "{}\n{}, {} weights, {} bytes, sha256 {}",
        output.display(),
        report.architecture,
        report.parameters,
        report.bytes,
        report.sha256
    );
    if let Some((name, dtype)) = report.fallbacks.first() {
        let count = report.fallbacks.len();
        text.push_str(&format!("\n{count} tensors have rows of another length: {name} became {dtype}"));
    }
    if !report.ignored.is_empty() {
        text.push_str(&format!("\nnot used: {}", report.ignored.join(", ")));
    }
    Ok(text)
}

/// The table of models and the lines of aliases.
pub(crate) fn list() -> Result<String, Failure> {
    let rows: Vec<Vec<String>> = llm::manifests()?
        .iter()
        .map(|manifest| {
            vec![
                manifest.name.clone(),
                size(manifest),
                format!("{} MB", manifest.memory_mb),
                manifest.licence.clone(),
                match llm::installed_path(manifest) {
                    Some(path) => path.display().to_string(),
                    None => format!("not installed; goes to {}", llm::model_folder(manifest).display()),
                },
            ]
        })
        .collect();
    let mut text = printer::table(&["model", "file", "memory", "licence", "where"], &rows, &[1, 2]);
    for alias in llm::aliases()? {
        text.push_str(&format!(
            "\nalias {}: the first of these that is installed and fits the memory budget: {}",
            alias.alias,
            alias.models.join(", ")
        ));
    }
    Ok(text)
}

fn size(manifest: &Manifest) -> String {
    if manifest.bytes == 0 { "-".into() } else { format!("{} MB", manifest.bytes / 1_000_000) }
}
