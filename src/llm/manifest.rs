//! Model manifests: TOML in, one [`Manifest`] per model and one [`Alias`] per ordered list of models out.
//!
//! Built in from `models/*.toml`; `*.toml` files in `$LLMATIC_HOME/models` add to them, and replace one of
//! the same name. Unknown keys are refused. Limit: a model is one file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::home;
use crate::llm::{ChatTokens, InfillTokens, LlmError};

/// (file name, content) of the manifests that come with the program.
const BUILT_IN: [(&str, &str); 15] = [
    ("codegen-16b-mono.toml", include_str!("../../models/codegen-16b-mono.toml")),
    ("codegen-2b-mono.toml", include_str!("../../models/codegen-2b-mono.toml")),
    ("codegen-350m-mono.toml", include_str!("../../models/codegen-350m-mono.toml")),
    ("codegen-6b-mono.toml", include_str!("../../models/codegen-6b-mono.toml")),
    ("codegen.toml", include_str!("../../models/codegen.toml")),
    ("deepseek-coder-1.3b.toml", include_str!("../../models/deepseek-coder-1.3b.toml")),
    ("deepseek-coder-6.7b.toml", include_str!("../../models/deepseek-coder-6.7b.toml")),
    ("gemma3-1b.toml", include_str!("../../models/gemma3-1b.toml")),
    ("qwen2.5-coder-0.5b.toml", include_str!("../../models/qwen2.5-coder-0.5b.toml")),
    ("qwen2.5-coder-1.5b.toml", include_str!("../../models/qwen2.5-coder-1.5b.toml")),
    ("qwen2.5-coder-32b.toml", include_str!("../../models/qwen2.5-coder-32b.toml")),
    ("qwen2.5-coder-7b.toml", include_str!("../../models/qwen2.5-coder-7b.toml")),
    ("qwen3-coder-30b-a3b.toml", include_str!("../../models/qwen3-coder-30b-a3b.toml")),
    ("smollm2-135m.toml", include_str!("../../models/smollm2-135m.toml")),
    ("starcoder2-3b.toml", include_str!("../../models/starcoder2-3b.toml")),
];

/// What is known about one model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the user calls it; also its folder in the model store.
    pub name: String,
    /// File name of the weights.
    pub file: String,
    /// Size of the file; 0 where it is made on the user's machine and so not known.
    #[serde(default)]
    pub bytes: u64,
    /// SHA-256 of the file, in lower-case hexadecimal; empty where it is not known.
    #[serde(default)]
    pub sha256: String,
    /// Licence of the weights.
    pub licence: String,
    /// `general.architecture` of the GGUF.
    pub architecture: String,
    /// Longest prompt plus completion, in tokens.
    pub context: usize,
    /// How it is prompted best.
    pub prompt_style: PromptStyle,
    /// Texts that end what it writes, besides its end-of-text tokens and the request's own rule; they are cut off.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Main memory that it takes at a context of 2048 tokens and 8 rows, about.
    pub memory_mb: u64,
    /// Where the weights come from, in words for the user.
    pub source: String,
    /// How it is asked to fill a hole in a text, if it was taught to.
    #[serde(default)]
    pub infill: Option<InfillTokens>,
    /// How it is talked to, if it was taught to.
    #[serde(default)]
    pub chat: Option<ChatTokens>,
    /// The Hugging Face repository that it is converted from, where no repository has the file itself.
    #[serde(default)]
    pub original: Option<String>,
    /// Where a Hugging Face cache on disk would have it.
    #[serde(default)]
    pub hugging_face: Option<HuggingFaceFile>,
}

/// How a model is prompted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptStyle {
    /// The prompt is the start of a source file.
    Completion,
    /// The prompt is a conversation in the model's own template.
    Chat,
}

/// A file of a Hugging Face repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HuggingFaceFile {
    /// Such as `Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF`.
    pub repo: String,
    /// Name within the repository.
    pub file: String,
}

/// A name for the first usable model of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// What the user calls it.
    pub alias: String,
    /// Names of manifests, the preferred first.
    pub models: Vec<String>,
}

/// All manifests, by name.
///
/// # Errors
/// A manifest that cannot be read or parsed, named with its file.
pub fn manifests() -> Result<Vec<Manifest>, LlmError> {
    Ok(Catalogue::read(&home())?.manifests)
}

/// All aliases, by name.
///
/// # Errors
/// As [`manifests`].
pub fn aliases() -> Result<Vec<Alias>, LlmError> {
    Ok(Catalogue::read(&home())?.aliases)
}

/// Manifests and aliases, each sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) aliases: Vec<Alias>,
}

impl Catalogue {
    /// The built-in ones and those in `home/models`.
    pub(crate) fn read(home: &Path) -> Result<Catalogue, LlmError> {
        let mut catalogue = Catalogue::default();
        for (file, text) in BUILT_IN {
            catalogue.add(&format!("built-in {file}"), text)?;
        }
        for path in toml_files(&home.join("models"))? {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| LlmError::Io { path: path.clone(), source })?;
            catalogue.add(&path.display().to_string(), &text)?;
        }
        catalogue.manifests.sort_by(|a, b| a.name.cmp(&b.name));
        catalogue.aliases.sort_by(|a, b| a.alias.cmp(&b.alias));
        Ok(catalogue)
    }

    /// The manifest of this name.
    pub(crate) fn manifest(&self, name: &str) -> Option<&Manifest> {
        self.manifests.iter().find(|manifest| manifest.name == name)
    }

    fn add(&mut self, origin: &str, text: &str) -> Result<(), LlmError> {
        let fault = |reason: String| LlmError::Manifest { origin: origin.to_owned(), reason };
        let table: toml::Table = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        if table.contains_key("alias") {
            let alias: Alias = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
            if alias.models.is_empty() {
                return Err(fault("`models` is empty, expected at least one name".into()));
            }
            self.aliases.retain(|known| known.alias != alias.alias);
            self.aliases.push(alias);
        } else {
            let manifest: Manifest = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
            check(&manifest).map_err(fault)?;
            self.manifests.retain(|known| known.name != manifest.name);
            self.manifests.push(manifest);
        }
        Ok(())
    }
}

/// Whether this is a name that a file or folder can have by itself.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != ".."
}

fn check(manifest: &Manifest) -> Result<(), String> {
    if !is_file_name(&manifest.name) {
        return Err(format!("`name` is `{}`, expected a plain folder name", manifest.name));
    }
    if !is_file_name(&manifest.file) || !manifest.file.ends_with(".gguf") {
        return Err(format!("`file` is `{}`, expected a plain file name ending in .gguf", manifest.file));
    }
    let is_hash =
        |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !manifest.sha256.is_empty() && !is_hash(&manifest.sha256) {
        return Err(format!("`sha256` is `{}`, expected 64 lower-case hexadecimal digits", manifest.sha256));
    }
    if manifest.context == 0 {
        return Err("`context` is 0, expected a number of tokens".into());
    }
    if manifest.stop.iter().any(String::is_empty) {
        return Err("`stop` has an empty text, which would end everything that is written".into());
    }
    Ok(())
}

/// The TOML files directly in `folder`, by name; none if it does not exist.
fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, LlmError> {
    let io = |source| LlmError::Io { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, Catalogue, Manifest};
    use crate::llm::LlmError;

    fn own(text: &str) -> Result<Catalogue, LlmError> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("models")).unwrap();
        std::fs::write(home.path().join("models/own.toml"), text).unwrap();
        Catalogue::read(home.path())
    }

    const OWN: &str = "name = 'own'\nfile = 'own.gguf'\nlicence = 'MIT'\narchitecture = 'qwen2'\n\
                       context = 128\nprompt_style = 'chat'\nmemory_mb = 10\nsource = 'home'\n";

    #[test]
    fn the_built_in_manifests_are_sound_and_named_after_their_files() {
        let home = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::read(home.path()).unwrap();
        assert_eq!(catalogue.manifests.len() + catalogue.aliases.len(), BUILT_IN.len());
        for (file, _) in BUILT_IN {
            let name = file.trim_end_matches(".toml");
            assert!(
                catalogue.manifest(name).is_some() || catalogue.aliases.iter().any(|a| a.alias == name),
                "{name}"
            );
        }
        for alias in &catalogue.aliases {
            assert!(alias.models.iter().all(|name| catalogue.manifest(name).is_some()));
        }
    }

    #[test]
    fn a_users_manifest_joins_and_may_replace_a_built_in_one() {
        assert_eq!(own(OWN).unwrap().manifest("own").map(|m| m.context), Some(128));
        let catalogue = own(&OWN.replace("'own'", "'qwen2.5-coder-0.5b'")).unwrap();
        let replaced: Vec<&Manifest> =
            catalogue.manifests.iter().filter(|m| m.name == "qwen2.5-coder-0.5b").collect();
        assert_eq!((replaced.len(), replaced[0].context), (1, 128));
    }

    #[test]
    fn faults_name_the_file_and_the_key() {
        for (text, word) in [
            (OWN.replace("memory_mb", "memory"), "memory"),
            (OWN.replace("'own.gguf'", "'../own.gguf'"), "file"),
            (OWN.replace("'chat'", "'talk'"), "talk"),
            (format!("{OWN}sha256 = 'abc'\n"), "sha256"),
            (format!("{OWN}stop = ['<end>', '']\n"), "stop"),
            (OWN.replace("licence = 'MIT'\n", ""), "licence"),
            ("alias = 'a'\nmodels = []\n".to_owned(), "models"),
            ("name = ".to_owned(), "own.toml"),
        ] {
            let message = own(&text).unwrap_err().to_string();
            assert!(message.contains("own.toml") && message.contains(word), "{message}");
        }
    }
}
