//! The model store: a name, alias or path in; a checked file with its hash out.
//!
//! Looks in `$LLMATIC_HOME/models/NAME/`, then in the Hugging Face cache on disk; never on the network. A
//! file's hash is computed once and kept beside it with its size and time of change (`FILE.verified`).
//! Limit: someone who can write the folder can forge that note; it saves time, it is not a seal.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::decoder::supported;
use super::gguf::Gguf;
use super::import::pinned;
use super::manifest::{Alias, Catalogue};
use crate::config::home;
use crate::llm::{Llm, LlmError, LlmOptions, Manifest, PromptStyle};

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What is known about it.
    pub manifest: Manifest,
    /// Its weights.
    pub path: PathBuf,
    /// Hash of the weights.
    pub sha256: String,
    /// The alias that led to it.
    pub alias: Option<String>,
    /// One line to tell the user when an alias was resolved: what was taken, what was skipped and why.
    pub note: Option<String>,
}

/// Where to look.
struct Places {
    home: PathBuf,
    hugging_face: Option<hf_hub::Cache>,
}

/// Finds a model by exact name (never substituted), alias (the first that is installed and fits) or path of
/// a `.gguf`.
///
/// `memory_budget_mb` is compared with the manifest's own figure.
///
/// # Errors
/// An unknown name; a model that is not installed (says what to bring and where to put it), is too large
/// for the budget, or whose file is not the one the manifest describes.
pub fn select(name_or_path: &str, memory_budget_mb: Option<u64>) -> Result<Selection, LlmError> {
    places().select(name_or_path, memory_budget_mb)
}

/// As [`select`], but what counts is what the model would take as it is to be loaded, by its file's header: of an
/// alias the first that takes at most `budget_mb`.
///
/// # Errors
/// As [`select`]; a model that takes more, with its numbers.
pub fn select_within(
    name_or_path: &str,
    budget_mb: u64,
    options: &dyn Fn(&Selection) -> LlmOptions,
) -> Result<Selection, LlmError> {
    let fits =
        |selection: &Selection| Llm::plan_within(selection, &options(selection), budget_mb).map(|_| ());
    let selection = places().choose(name_or_path, None, &fits)?;
    fits(&selection)?;
    Ok(selection)
}

/// Where the weights of a manifest are on this machine, unchecked; `None` if they are not.
pub fn installed_path(manifest: &Manifest) -> Option<PathBuf> {
    places().find(manifest)
}

/// The folder in which a manifest's file belongs.
pub fn model_folder(manifest: &Manifest) -> PathBuf {
    home().join("models").join(&manifest.name)
}

fn places() -> Places {
    Places { home: home(), hugging_face: Some(hf_hub::Cache::from_env()) }
}

impl Places {
    fn select(&self, name: &str, budget_mb: Option<u64>) -> Result<Selection, LlmError> {
        self.choose(name, budget_mb, &|_| Ok(()))
    }

    /// As [`Places::select`]; of an alias only what `fits`.
    fn choose(
        &self,
        name: &str,
        budget_mb: Option<u64>,
        fits: &dyn Fn(&Selection) -> Result<(), LlmError>,
    ) -> Result<Selection, LlmError> {
        let catalogue = Catalogue::read(&self.home)?;
        if let Some(alias) = catalogue.aliases.iter().find(|alias| alias.alias == name) {
            return self.resolve(&catalogue, alias, budget_mb, fits);
        }
        if let Some(manifest) = catalogue.manifest(name) {
            return self.exact(manifest, budget_mb);
        }
        if name.ends_with(".gguf") || name.contains(std::path::MAIN_SEPARATOR) {
            return by_path(&catalogue, Path::new(name));
        }
        let aliases = catalogue.aliases.iter().map(|alias| alias.alias.as_str());
        let names = catalogue.manifests.iter().map(|manifest| manifest.name.as_str());
        let known = aliases.chain(names).collect::<Vec<_>>().join(", ");
        Err(LlmError::UnknownModel { name: name.to_owned(), known })
    }

    fn find(&self, manifest: &Manifest) -> Option<PathBuf> {
        let stored = self.home.join("models").join(&manifest.name).join(&manifest.file);
        if stored.is_file() {
            return Some(stored);
        }
        let remote = manifest.hugging_face.as_ref()?;
        self.hugging_face.as_ref()?.model(remote.repo.clone()).get(&remote.file)
    }

    fn exact(&self, manifest: &Manifest, budget_mb: Option<u64>) -> Result<Selection, LlmError> {
        let path = self.find(manifest).ok_or_else(|| LlmError::NotInstalled {
            name: manifest.name.clone(),
            file: manifest.file.clone(),
            size: if manifest.bytes > 0 { format!(" ({} bytes)", manifest.bytes) } else { String::new() },
            source_words: manifest.source.clone(),
            destination: self.home.join("models").join(&manifest.name).join(&manifest.file),
        })?;
        if let Some(budget_mb) = budget_mb.filter(|budget| *budget < manifest.memory_mb) {
            let (name, needed_mb) = (manifest.name.clone(), manifest.memory_mb);
            return Err(LlmError::OverBudget { name, needed_mb, budget_mb });
        }
        if !supported().contains(&manifest.architecture.as_str()) {
            return Err(LlmError::Architecture {
                path,
                architecture: manifest.architecture.clone(),
                supported: supported().join(", "),
            });
        }
        let sha256 = checked_hash(manifest, &path)?;
        Ok(Selection { manifest: manifest.clone(), path, sha256, alias: None, note: None })
    }

    fn resolve(
        &self,
        catalogue: &Catalogue,
        alias: &Alias,
        budget_mb: Option<u64>,
        fits: &dyn Fn(&Selection) -> Result<(), LlmError>,
    ) -> Result<Selection, LlmError> {
        let mut skipped: Vec<(String, String)> = Vec::new();
        for name in &alias.models {
            let result = match catalogue.manifest(name) {
                Some(manifest) => {
                    self.exact(manifest, budget_mb).and_then(|selection| fits(&selection).map(|()| selection))
                }
                None => Err(LlmError::UnknownModel { name: name.clone(), known: String::new() }),
            };
            let reason = match result {
                Ok(mut selection) => {
                    let skipped = group(&skipped);
                    let skipped = if skipped.is_empty() { skipped } else { format!(" (skipped {skipped})") };
                    selection.note = Some(format!("model alias `{}`: using {name}{skipped}", alias.alias));
                    selection.alias = Some(alias.alias.clone());
                    return Ok(selection);
                }
                Err(LlmError::NotInstalled { .. }) => "not installed".to_owned(),
                Err(LlmError::UnknownModel { .. }) => "no such model".to_owned(),
                Err(LlmError::Architecture { architecture, .. }) => {
                    format!("architecture {architecture} is not supported yet")
                }
                Err(LlmError::OverBudget { needed_mb, budget_mb, .. }) => {
                    format!("needs {needed_mb} MB of {budget_mb} MB")
                }
                Err(LlmError::PlanOverBudget {
                    weights_mb, cache_mb, scratch_mb, rows, budget_mb, ..
                }) => {
                    let needed_mb = weights_mb + cache_mb + scratch_mb;
                    format!("needs {needed_mb} MB of {budget_mb} MB for {rows} rows")
                }
                // A damaged file is the user's to know, not a reason to take another model silently.
                Err(error) => return Err(error),
            };
            skipped.push((name.clone(), reason));
        }
        Err(LlmError::NothingForAlias { alias: alias.alias.clone(), reasons: group(&skipped) })
    }
}

/// `a, b: reason; c: other reason`, runs of the same reason together.
fn group(skipped: &[(String, String)]) -> String {
    let runs = skipped.chunk_by(|a, b| a.1 == b.1).map(|run| {
        let names: Vec<&str> = run.iter().map(|(name, _)| name.as_str()).collect();
        format!("{}: {}", names.join(", "), run[0].1)
    });
    runs.collect::<Vec<_>>().join("; ")
}

/// A model given by its file. A file with the hash of a manifest is that manifest's.
fn by_path(catalogue: &Catalogue, path: &Path) -> Result<Selection, LlmError> {
    let (manifest, sha256) = describe(catalogue, path)?;
    Ok(Selection { manifest, path: path.to_owned(), sha256, alias: None, note: None })
}

/// The manifest of a file, or what can be said of one that has none, and its hash.
pub(super) fn describe(catalogue: &Catalogue, path: &Path) -> Result<(Manifest, String), LlmError> {
    let gguf = Gguf::open(path)?;
    let architecture = gguf.architecture()?.to_owned();
    let sha256 = hash_once(path)?;
    let known = catalogue.manifests.iter().find(|manifest| manifest.sha256 == sha256);
    let file_name = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    let bytes = size_of_file(path)?;
    let manifest = known.cloned().unwrap_or_else(|| Manifest {
        name: file_name(path.file_stem()),
        file: file_name(path.file_name()),
        bytes,
        sha256: sha256.clone(),
        licence: "not known".into(),
        context: gguf.integer(&format!("{architecture}.context_length")).unwrap_or(0),
        architecture,
        prompt_style: PromptStyle::Completion,
        stop: Vec::new(),
        memory_mb: bytes / 1_000_000 * 3 / 2,
        source: "given by its path".into(),
        infill: None,
        chat: None,
        original: None,
        hugging_face: None,
    });
    Ok((manifest, sha256))
}

/// The file's hash, once it is known to be the manifest's file.
fn checked_hash(manifest: &Manifest, path: &Path) -> Result<String, LlmError> {
    let found = size_of_file(path)?;
    let name = manifest.name.clone();
    if manifest.bytes != 0 && manifest.bytes != found {
        return Err(LlmError::WrongSize { name, path: path.to_owned(), expected: manifest.bytes, found });
    }
    let found = hash_once(path)?;
    let known = Some(manifest.sha256.clone()).filter(|hash| !hash.is_empty()).or_else(|| pinned(path));
    if let Some(expected) = known.filter(|expected| *expected != found) {
        return Err(LlmError::WrongHash { name, path: path.to_owned(), expected, found });
    }
    Ok(found)
}

pub(super) fn size_of_file(path: &Path) -> Result<u64, LlmError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| LlmError::Io { path: path.to_owned(), source })?;
    Ok(metadata.len())
}

/// SHA-256 of a file, from the note beside it where that is still true.
pub(super) fn hash_once(path: &Path) -> Result<String, LlmError> {
    let io = |source| LlmError::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    let changed = metadata.modified().map_err(io)?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp = format!("{} {}.{:09}", metadata.len(), changed.as_secs(), changed.subsec_nanos());
    let mut note_name = path.file_name().unwrap_or_default().to_owned();
    note_name.push(".verified");
    let note_path = path.with_file_name(note_name);
    if let Ok(note) = std::fs::read_to_string(&note_path)
        && let Some((noted, hash)) = note.trim_end().split_once('\n')
        && noted == stamp
        && hash.len() == 64
    {
        return Ok(hash.to_owned());
    }
    let hash = hash_file(path)?;
    // The note only saves time: a read-only folder is fine.
    let temporary = note_path.with_extension(format!("verified.{}", std::process::id()));
    if std::fs::write(&temporary, format!("{stamp}\n{hash}\n")).is_ok()
        && std::fs::rename(&temporary, &note_path).is_err()
    {
        let _ = std::fs::remove_file(&temporary);
    }
    Ok(hash)
}

/// Whether a text looks like a SHA-256.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// SHA-256 of a file, computed.
pub(super) fn hash_file(path: &Path) -> Result<String, LlmError> {
    let io = |source| LlmError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::{Places, hash_once};
    use crate::llm::LlmError;

    /// SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Fixture {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("models")).unwrap();
            Fixture { folder }
        }

        fn manifest(self, name: &str, architecture: &str, memory_mb: u64) -> Fixture {
            let text = format!(
                "name = '{name}'\nfile = '{name}.gguf'\nbytes = 3\nsha256 = '{ABC}'\nlicence = 'MIT'\n\
                 architecture = '{architecture}'\ncontext = 128\nprompt_style = 'completion'\n\
                 memory_mb = {memory_mb}\nsource = 'a friend'\n[hugging_face]\n\
                 repo = 'some/{name}'\nfile = '{name}.gguf'\n"
            );
            std::fs::write(self.folder.path().join(format!("models/{name}.toml")), text).unwrap();
            self
        }

        fn alias(self, models: &str) -> Fixture {
            let text = format!("alias = 'any'\nmodels = [{models}]\n");
            std::fs::write(self.folder.path().join("models/any.toml"), text).unwrap();
            self
        }

        fn installed(self, name: &str, content: &str) -> Fixture {
            let folder = self.folder.path().join("models").join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.gguf")), content).unwrap();
            self
        }

        fn places(&self) -> Places {
            let cache = hf_hub::Cache::new(self.folder.path().join("hub"));
            Places { home: self.folder.path().to_owned(), hugging_face: Some(cache) }
        }
    }

    #[test]
    fn an_exact_name_is_never_substituted_and_says_what_to_bring_and_where() {
        let fixture = Fixture::new()
            .manifest("big", "qwen2", 9)
            .manifest("small", "qwen2", 1)
            .installed("small", "abc");
        let message = fixture.places().select("big", None).unwrap_err().to_string();
        for part in ["`big` is not installed", "`big.gguf` (3 bytes)", "a friend", "models/big/big.gguf"] {
            assert!(message.contains(part), "{message}");
        }
        let built_in = fixture.places().select("codegen-6b-mono", None).unwrap_err().to_string();
        assert!(built_in.contains("codegen-6b-mono-q4_k_m.gguf"), "{built_in}");
    }

    #[test]
    fn an_alias_takes_the_first_usable_model_and_says_what_it_skipped() {
        let fixture = Fixture::new()
            .manifest("absent", "qwen2", 1)
            .manifest("foreign", "mamba", 1)
            .manifest("big", "qwen2", 900)
            .manifest("small", "qwen2", 100)
            .alias("'absent', 'foreign', 'big', 'small'")
            .installed("foreign", "abc")
            .installed("big", "abc")
            .installed("small", "abc");
        let small = fixture.places().select("any", Some(500)).unwrap();
        assert_eq!((small.manifest.name.as_str(), small.sha256.as_str()), ("small", ABC));
        assert_eq!(small.alias.as_deref(), Some("any"));
        assert_eq!(
            small.note.as_deref(),
            Some(
                "model alias `any`: using small (skipped absent: not installed; foreign: architecture \
                 mamba is not supported yet; big: needs 900 MB of 500 MB)"
            )
        );
        assert_eq!(fixture.places().select("any", None).unwrap().manifest.name, "big");
    }

    #[test]
    fn an_alias_without_a_usable_model_lists_every_reason() {
        let fixture =
            Fixture::new().manifest("a", "qwen2", 1).manifest("b", "qwen2", 1).alias("'a', 'b', 'c'");
        let message = fixture.places().select("any", None).unwrap_err().to_string();
        assert!(message.contains("a, b: not installed; c: no such model"), "{message}");
    }

    #[test]
    fn a_file_of_another_size_or_hash_is_refused_even_through_an_alias() {
        let fixture = Fixture::new().manifest("m", "qwen2", 1).alias("'m'").installed("m", "abcd");
        assert!(matches!(
            fixture.places().select("any", None),
            Err(LlmError::WrongSize { expected: 3, found: 4, .. })
        ));
        std::fs::write(fixture.folder.path().join("models/m/m.gguf"), "abd").unwrap();
        assert!(matches!(fixture.places().select("m", None), Err(LlmError::WrongHash { .. })));
    }

    #[test]
    fn a_budget_below_the_models_need_is_refused_with_both_numbers() {
        let fixture = Fixture::new().manifest("m", "qwen2", 700).installed("m", "abc");
        let message = fixture.places().select("m", Some(600)).unwrap_err().to_string();
        assert!(message.contains("700 MB") && message.contains("600 MB"), "{message}");
        assert!(fixture.places().select("m", Some(700)).is_ok());
    }

    #[test]
    fn a_hugging_face_cache_on_disk_is_searched_too() {
        let fixture = Fixture::new().manifest("m", "qwen2", 1);
        let repo = fixture.folder.path().join("hub/models--some--m");
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::create_dir_all(repo.join("snapshots/1234")).unwrap();
        std::fs::write(repo.join("refs/main"), "1234").unwrap();
        std::fs::write(repo.join("snapshots/1234/m.gguf"), "abc").unwrap();
        assert!(fixture.places().select("m", None).unwrap().path.ends_with("snapshots/1234/m.gguf"));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = Fixture::new().places().select("gpt", None).unwrap_err().to_string();
        assert!(
            message.contains("`gpt`") && message.contains("codegen, codegen-16b-mono, codegen-2b-mono"),
            "{message}"
        );
        let missing = Fixture::new().places().select("no/such.gguf", None).unwrap_err();
        assert!(matches!(missing, LlmError::Io { .. }));
    }

    #[test]
    fn a_hash_is_read_from_its_note_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gguf");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(hash_once(&path).unwrap(), ABC);
        let note = folder.path().join("x.gguf.verified");
        let forged = std::fs::read_to_string(&note).unwrap().replace(ABC, &"0".repeat(64));
        std::fs::write(&note, forged).unwrap();
        assert_eq!(hash_once(&path).unwrap(), "0".repeat(64));
        std::fs::write(&path, "abcd").unwrap();
        assert_ne!(hash_once(&path).unwrap(), "0".repeat(64));
    }
}
