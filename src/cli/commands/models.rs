//! `models list`: the models that are known, and which of them are on this machine.

use llmatic_offline::llm::{self, Manifest};

use crate::cli::args::{ModelsArgs, ModelsCommand};
use crate::cli::{Failure, printer};

/// `models`
pub(crate) fn models(args: &ModelsArgs) -> Result<(), Failure> {
    match args.command {
        ModelsCommand::List => {
            printer::data(&list()?);
            Ok(())
        }
    }
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
            "\nalias {}: the first installed of {}",
            alias.alias,
            alias.models.join(", ")
        ));
    }
    Ok(text)
}

fn size(manifest: &Manifest) -> String {
    if manifest.bytes == 0 { "-".into() } else { format!("{} MB", manifest.bytes / 1_000_000) }
}
