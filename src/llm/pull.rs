//! `models pull`: a model's name in, its file from the Hugging Face hub in the store out.
//!
//! The only code that uses the network, and only when it is called. Files go into the Hugging Face cache
//! (`HF_HOME`), where an interrupted download is continued, and from there into the store as any import does:
//! checked, pinned by SHA-256, converted where the hub has no GGUF file. Hub: `HF_ENDPOINT`, else the public
//! one. Limit: public models, and those that the cache's token opens.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo};

use super::import::import_into;
use super::manifest::Catalogue;
use super::store::{hash_file, is_sha256, size_of_file};
use crate::config::home;
use crate::llm::{LlmError, Manifest, Verified};

/// Times that a download is begun or taken up again before giving up.
const ATTEMPTS: usize = 3;

/// Where a download stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// Name of the file within its repository.
    pub file: String,
    /// Bytes here, those of an earlier attempt included.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Brings the model `name` from the hub into the store; `offline` refuses before anything is asked for.
///
/// # Errors
/// A name without a manifest, or one whose manifest names no repository; `offline`; a download that fails; what
/// [`import`](crate::llm::import) refuses.
pub fn pull(
    name: &str,
    offline: bool,
    on_progress: &mut dyn FnMut(&PullProgress),
) -> Result<Verified, LlmError> {
    let home = home();
    let catalogue = Catalogue::read(&home)?;
    let Some(manifest) = catalogue.manifest(name) else {
        let names: Vec<&str> = catalogue.manifests.iter().map(|manifest| manifest.name.as_str()).collect();
        return Err(LlmError::UnknownModel { name: name.to_owned(), known: names.join(", ") });
    };
    if offline {
        let (name, file, source_words) = (name.to_owned(), manifest.file.clone(), manifest.source.clone());
        return Err(LlmError::Offline { name, file, source_words });
    }
    let source = fetch(manifest, on_progress)?;
    import_into(&home, &source, name)
}

/// Downloads what the manifest names: a GGUF file, or a folder to convert.
fn fetch(manifest: &Manifest, on_progress: &mut dyn FnMut(&PullProgress)) -> Result<PathBuf, LlmError> {
    let fault = |reason: String| LlmError::Pull { name: manifest.name.clone(), reason };
    let api = ApiBuilder::from_env().with_progress(false).build();
    let api = api.map_err(|error| fault(error.to_string()))?;
    if let Some(remote) = &manifest.hugging_face {
        let repo = api.model(remote.repo.clone());
        return download(&repo, &remote.repo, &remote.file, on_progress).map_err(fault);
    }
    let Some(original) = &manifest.original else {
        return Err(fault(format!(
            "its manifest names no repository; bring `{}` ({}) and use `models import`",
            manifest.file, manifest.source
        )));
    };
    let repo = api.model(original.clone());
    let listed = repo.info().map_err(|error| fault(format!("repository `{original}`: {error}")))?;
    let names: Vec<&str> = listed.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
    let wanted: Vec<&str> = wanted(&names);
    if !wanted.contains(&"config.json") {
        return Err(fault(format!("repository `{original}` has no config.json")));
    }
    let mut folder = PathBuf::new();
    for file in wanted {
        let path = download(&repo, original, file, on_progress).map_err(fault)?;
        folder = path.parent().unwrap_or(Path::new(".")).to_owned();
    }
    Ok(folder)
}

/// The files of a repository that a conversion reads: safetensors where there are any, else PyTorch's.
fn wanted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    const TEXTS: [&str; 7] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "merges.txt",
        "added_tokens.json",
    ];
    let weights = |start: &str, end: &str| -> Vec<&'a str> {
        let fits = |name: &&&str| name.starts_with(start) && (name.ends_with(end) || is_index(name, end));
        names.iter().filter(fits).copied().filter(|name| !name.contains('/')).collect()
    };
    let is_text = |name: &&str| TEXTS.contains(name);
    let mut wanted: Vec<&str> = names.iter().copied().filter(is_text).collect();
    let mapped = weights("model", ".safetensors");
    wanted.extend(if mapped.is_empty() { weights("pytorch_model", ".bin") } else { mapped });
    wanted
}

fn is_index(name: &str, end: &str) -> bool {
    name.strip_suffix(".index.json").is_some_and(|name| name.ends_with(end))
}

/// One file of a repository, in the cache; what is there already is not asked for again.
fn download(
    repo: &ApiRepo,
    name: &str,
    file: &str,
    on_progress: &mut dyn FnMut(&PullProgress),
) -> Result<PathBuf, String> {
    let cached = Cache::from_env().repo(Repo::model(name.to_owned())).get(file);
    if let Some(path) = cached {
        let blob = blob_of(&path)?;
        match check_hash(&blob) {
            Ok(()) => return Ok(path),
            // Damaged since it came: brought again.
            Err(_) => forget(&path, &blob),
        }
    }
    let mut state = PullProgress { file: file.to_owned(), bytes: 0, total_bytes: 0 };
    let mut attempt = || {
        let watch = Watch { state: &mut state, on_progress: &mut *on_progress };
        repo.download_with_progress(file, watch)
    };
    // hf-hub's own retries take a resumed file for an empty one where no byte has come since.
    let mut result = attempt();
    for _ in 1..ATTEMPTS {
        if result.is_err() {
            result = attempt();
        }
    }
    let path = result.map_err(|error| format!("`{file}` of `{name}`: {error}; pull again to go on"))?;
    let blob = blob_of(&path)?;
    check_size(&blob, state.total_bytes)
        .and_then(|()| check_hash(&blob))
        .inspect_err(|_| forget(&path, &blob))?;
    Ok(path)
}

/// The file of the cache that a snapshot's link leads to.
fn blob_of(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
}

fn forget(path: &Path, blob: &Path) {
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(blob);
}

/// Compares a downloaded file with the size that the hub told.
fn check_size(blob: &Path, expected: u64) -> Result<(), String> {
    let bytes = size_of_file(blob).map_err(|error| error.to_string())?;
    if bytes == expected {
        return Ok(());
    }
    Err(format!("{}: expected {expected} bytes, got {bytes}; pull again", blob.display()))
}

/// Compares a file of the cache with its SHA-256 where that is its name, as it is of large files.
fn check_hash(blob: &Path) -> Result<(), String> {
    let named = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !is_sha256(named) {
        return Ok(());
    }
    let found = hash_file(blob).map_err(|error| error.to_string())?;
    if found == named {
        return Ok(());
    }
    let file = blob.display();
    Err(format!("{file}: expected sha256 {named}, got {found}; the download was damaged, pull again"))
}

/// Counts bytes for the caller.
struct Watch<'a> {
    state: &'a mut PullProgress,
    on_progress: &'a mut dyn FnMut(&PullProgress),
}

impl hf_hub::api::Progress for Watch<'_> {
    fn init(&mut self, size: usize, _file: &str) {
        (self.state.bytes, self.state.total_bytes) = (0, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.state.bytes += size as u64;
        (self.on_progress)(self.state);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn one_kind_of_weights_is_fetched_and_nothing_that_is_not_read() {
        let both =
            ["README.md", "config.json", "pytorch_model.bin", "model.safetensors", "onnx/model.safetensors"];
        assert_eq!(wanted(&both), ["config.json", "model.safetensors"]);
        let shards =
            ["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "x.bin"];
        assert_eq!(wanted(&shards), &shards[..3]);
        let texts = ["config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(wanted(&texts), [texts[0], texts[2], texts[3]]);
    }
}
