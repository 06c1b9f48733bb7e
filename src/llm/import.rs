//! Bringing a model file into the store, and checking what is there: a file or folder and a name in, an
//! installed file with its SHA-256 pinned beside it out.
//!
//! The pin (`FILE.sha256`, in the format of sha256sum) is what later selections are held to where the
//! manifest knows no hash. A name without a manifest gets one in `$LLMATIC_HOME/models/NAME.toml`. An archive is
//! unpacked first, and a Hugging Face directory of a known model is converted as its manifest's file name says.
//! Nothing is fetched. Limit: one GGUF file a model.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::convert::quantization_of;
use super::decoder::Config;
use super::gguf::Gguf;
use super::manifest::{Catalogue, is_file_name};
use super::store::{describe, hash_file, hash_once, is_sha256, size_of_file};
use super::unpack::{is_archive, unpack};
use crate::config::home;
use crate::llm::{LlmError, Manifest, convert};

/// Levels of folders that are looked into: `FOLDER/hub/models--X/snapshots/HASH`.
const DEEPEST: usize = 5;
/// Most folders of a level that are looked into.
const MOST_FOLDERS: usize = 1_000;

/// A model file that was checked from its first byte to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Whether a hash was known that it could be compared with.
    pub pinned: bool,
}

/// Brings the model `name` into the store, by hard link where that is possible and by copying otherwise.
///
/// `source` is the GGUF file, a folder that holds it, a Hugging Face cache (or a repository's folder in one),
/// the directory of a model to convert, or an archive of any of these. Without a manifest of that name, one is
/// written.
///
/// # Errors
/// A source without the file; a file that is not the one that the manifest describes, or that is damaged or
/// of an unknown architecture; a store that cannot be written.
pub fn import(source: &Path, name: &str) -> Result<Verified, LlmError> {
    import_into(&home(), source, name)
}

/// Reads an installed model's file again, from its first byte to its last, and compares its hash with the
/// manifest's or the pinned one.
///
/// # Errors
/// As [`select`](crate::llm::select); a file whose hash is another.
pub fn verify(name: &str) -> Result<Verified, LlmError> {
    let selection = crate::llm::select(name, None)?;
    check(&selection.manifest, &selection.path, None)
}

pub(super) fn import_into(home: &Path, source: &Path, name: &str) -> Result<Verified, LlmError> {
    if !(source.is_file() && is_archive(source)) {
        return import_plain(home, source, name);
    }
    // Beside the store, so that the file gets there by a link.
    let folder = home.join("models").join(format!(".unpacked-{}", std::process::id()));
    // What a killed import of the same number left.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|error| io(&folder, error))?;
    let fault = |error: std::io::Error| match error.kind() {
        // The folder's, not the archive's.
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => {
            io(&folder, error)
        }
        _ => {
            let reason = format!("cannot be unpacked: {error}");
            LlmError::Import { path: source.to_owned(), reason }
        }
    };
    let imported = unpack(source, &folder).map_err(fault).and_then(|()| import_plain(home, &folder, name));
    let _ = std::fs::remove_dir_all(&folder);
    imported.map_err(|error| match error {
        LlmError::Import { path, reason } if path == folder => {
            LlmError::Import { path: source.to_owned(), reason }
        }
        other => other,
    })
}

fn import_plain(home: &Path, source: &Path, name: &str) -> Result<Verified, LlmError> {
    let catalogue = Catalogue::read(home)?;
    let known = catalogue.manifest(name);
    if known.is_none() && (!is_file_name(name) || catalogue.aliases.iter().any(|alias| alias.alias == name)) {
        let reason = format!("`{name}` cannot be a model's name: expected a plain folder name, not an alias");
        return Err(LlmError::Import { path: source.to_owned(), reason });
    }
    match find(source, known)? {
        Found::File(path) => place_checked(home, source, name, &catalogue, &path, None),
        Found::Original(folder, manifest, quantization) => {
            let target = home.join("models").join(&manifest.name);
            std::fs::create_dir_all(&target).map_err(|error| io(&target, error))?;
            // Beside what may be there: it is kept where the conversion is refused.
            let made = target.join(format!(".converted-{}", manifest.file));
            let placed = convert(&folder, quantization, &made, &mut |_| {})
                .and_then(|report| place_checked(home, source, name, &catalogue, &made, Some(report.sha256)));
            let _ = std::fs::remove_file(&made);
            placed
        }
    }
}

/// Brings a GGUF file into the store, once it is known to be what it is to be.
fn place_checked(
    home: &Path,
    source: &Path,
    name: &str,
    catalogue: &Catalogue,
    found: &Path,
    hash: Option<String>,
) -> Result<Verified, LlmError> {
    let known = catalogue.manifest(name);
    // A cache's files are links to blobs.
    let found = found.canonicalize().map_err(|error| io(found, error))?;
    let manifest = match known {
        Some(manifest) => manifest.clone(),
        None => Manifest {
            name: name.to_owned(),
            file: format!("{name}.gguf"),
            source: format!("imported from {}", source.display()),
            ..describe(catalogue, &found)?.0
        },
    };
    // Refuse what could not be run before anything is copied.
    let gguf = Gguf::open(&found)?;
    Config::read(&gguf)?;
    gguf.check_extents()?;
    let architecture = gguf.architecture()?;
    if architecture != manifest.architecture {
        let expected = &manifest.architecture;
        return Err(gguf
            .error(format!("expected architecture `{expected}` for model `{name}`, got `{architecture}`")));
    }
    let checked = check(&manifest, &found, hash)?;
    let folder = home.join("models").join(&manifest.name);
    std::fs::create_dir_all(&folder).map_err(|error| io(&folder, error))?;
    let target = folder.join(&manifest.file);
    let here = target.canonicalize().is_ok_and(|target| target == found);
    if !here {
        place(&found, &target)?;
    }
    let pin = format!("{}  {}\n", checked.sha256, manifest.file);
    write_whole(&pin_path(&target), pin.as_bytes())?;
    if known.is_none() {
        write_whole(
            &home.join("models").join(format!("{name}.toml")),
            toml_of(&manifest, &checked).as_bytes(),
        )?;
    }
    // Leaves the note that spares the next start from hashing again.
    let sha256 = hash_once(&target)?;
    if sha256 != checked.sha256 {
        let (name, expected) = (manifest.name, checked.sha256);
        return Err(LlmError::WrongHash { name, path: target, expected, found: sha256 });
    }
    Ok(Verified { path: target, pinned: true, ..checked })
}

/// The hash that was pinned beside an installed file.
pub(super) fn pinned(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(pin_path(path)).ok()?;
    let hash = text.split_whitespace().next()?;
    is_sha256(hash).then(|| hash.to_ascii_lowercase())
}

fn pin_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".sha256");
    path.with_file_name(name)
}

/// Compares size and hash of a file with what is known of it; hashes it afresh unless it was just now.
fn check(manifest: &Manifest, path: &Path, hash: Option<String>) -> Result<Verified, LlmError> {
    let bytes = size_of_file(path)?;
    let name = manifest.name.clone();
    if manifest.bytes != 0 && manifest.bytes != bytes {
        return Err(LlmError::WrongSize {
            name,
            path: path.to_owned(),
            expected: manifest.bytes,
            found: bytes,
        });
    }
    let sha256 = hash.map_or_else(|| hash_file(path), Ok)?;
    let known = Some(manifest.sha256.clone()).filter(|hash| !hash.is_empty()).or_else(|| pinned(path));
    match &known {
        Some(expected) if *expected != sha256 => {
            let expected = expected.clone();
            Err(LlmError::WrongHash { name, path: path.to_owned(), expected, found: sha256 })
        }
        _ => Ok(Verified { path: path.to_owned(), bytes, sha256, pinned: known.is_some() }),
    }
}

/// What is brought.
enum Found<'a> {
    /// A GGUF file.
    File(PathBuf),
    /// A Hugging Face model to convert, and how.
    Original(PathBuf, &'a Manifest, &'static str),
}

/// The file to bring: `source` itself, or what lies in it.
fn find<'a>(source: &Path, manifest: Option<&'a Manifest>) -> Result<Found<'a>, LlmError> {
    if source.is_file() {
        return Ok(Found::File(source.to_owned()));
    }
    let mut folders = folders(source);
    if let Some(manifest) = manifest {
        // Of a whole cache, only the model's own repositories.
        let remote = manifest.hugging_face.as_ref().map(|remote| &remote.repo);
        let own: Vec<String> = remote
            .into_iter()
            .chain(&manifest.original)
            .map(|repo| format!("models--{}", repo.replace('/', "--")))
            .collect();
        let inside = |folder: &Path| {
            folder.strip_prefix(source).is_ok_and(|path| {
                path.components().all(|part| {
                    let part = part.as_os_str().to_string_lossy();
                    !part.starts_with("models--") || own.iter().any(|own| *own == part)
                })
            })
        };
        folders.retain(|folder| inside(folder));
    }
    let mut names: Vec<&str> = Vec::new();
    if let Some(manifest) = manifest {
        names.push(&manifest.file);
        names.extend(manifest.hugging_face.as_ref().map(|remote| remote.file.as_str()));
    }
    let named = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    if let Some(path) = named.into_iter().find(|path| path.is_file()) {
        return Ok(Found::File(path));
    }
    let originals: Vec<&PathBuf> =
        folders.iter().filter(|folder| folder.join("config.json").is_file()).collect();
    if let ([folder], Some(manifest)) = (&originals[..], manifest)
        && let Some(quantization) = quantization_of(&manifest.file)
    {
        return Ok(Found::Original(folder.to_path_buf(), manifest, quantization));
    }
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mut models: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_gguf).collect();
    match (manifest, models.len()) {
        (None, 1) => Ok(Found::File(models.remove(0))),
        _ => {
            let wanted =
                names.first().map_or("exactly one .gguf file".to_owned(), |name| format!("`{name}`"));
            let hint = match originals.len() {
                0 => "",
                1 => "; it looks like a Hugging Face model: make the file with `models convert` first",
                _ => "; there are several Hugging Face models: name the folder of one",
            };
            let reason = format!("expected {wanted} there, found {} .gguf files{hint}", models.len());
            Err(LlmError::Import { path: source.to_owned(), reason })
        }
    }
}

/// `source` and the folders in it, by name: as deep as a Hugging Face cache in a folder goes.
fn folders(source: &Path) -> Vec<PathBuf> {
    let mut folders = vec![source.to_owned()];
    let mut level = folders.clone();
    for _ in 0..DEEPEST {
        let entries = level.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        level = entries.filter(is_folder).map(|entry| entry.path()).take(MOST_FOLDERS).collect();
        folders.extend(level.iter().cloned());
    }
    folders.sort();
    folders
}

/// Makes `target` the same file as `source`, or a copy of it; never half of it.
fn place(source: &Path, target: &Path) -> Result<(), LlmError> {
    let part = part_path(target);
    let _ = std::fs::remove_file(&part);
    let placed = std::fs::hard_link(source, &part).or_else(|_| {
        std::fs::copy(source, &part)?;
        File::open(&part)?.sync_all()
    });
    let placed = placed.map_err(|error| io(&part, error));
    let placed = placed.and_then(|()| std::fs::rename(&part, target).map_err(|error| io(target, error)));
    // A rename onto a link to the same file leaves both names.
    let _ = std::fs::remove_file(&part);
    placed
}

fn write_whole(path: &Path, content: &[u8]) -> Result<(), LlmError> {
    let part = part_path(path);
    let written = File::create(&part)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written.map_err(|error| io(path, error))
}

fn part_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    path.with_file_name(name)
}

fn io(path: &Path, source: std::io::Error) -> LlmError {
    LlmError::Io { path: path.to_owned(), source }
}

/// A manifest for a model that has none.
fn toml_of(manifest: &Manifest, checked: &Verified) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "# Written by `models import`.\nname = {}\nfile = {}\nbytes = {}\nsha256 = {}\nlicence = {}\n\
         architecture = {}\ncontext = {}\nprompt_style = \"completion\"\nmemory_mb = {}\nsource = {}\n",
        quoted(&manifest.name),
        quoted(&manifest.file),
        checked.bytes,
        quoted(&checked.sha256),
        quoted(&manifest.licence),
        quoted(&manifest.architecture),
        manifest.context,
        manifest.memory_mb,
        quoted(&manifest.source),
    )
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlDType;

    use super::{import_into, pinned};
    use crate::llm::LlmError;
    use crate::llm::decoder::tests::write_tiny_model;
    use crate::llm::manifest::Catalogue;

    const KNOWN: &str = "name = 'known'\nfile = 'known.gguf'\nlicence = 'MIT'\narchitecture = 'qwen2'\n\
                         context = 128\nprompt_style = 'completion'\nmemory_mb = 10\nsource = 'a friend'\n\
                         [hugging_face]\nrepo = 'some/known'\nfile = 'k.gguf'\n";

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("models")).unwrap();
        std::fs::write(home.path().join("models/known.toml"), KNOWN).unwrap();
        home
    }

    #[test]
    fn an_imported_file_is_pinned_and_a_changed_one_is_refused_afterwards() {
        let (home, folder) = (home(), tempfile::tempdir().unwrap());
        write_tiny_model(&folder.path().join("known.gguf"), GgmlDType::Q8_0);
        let verified = import_into(home.path(), folder.path(), "known").unwrap();
        assert_eq!(verified.path, home.path().join("models/known/known.gguf"));
        assert_eq!(pinned(&verified.path), Some(verified.sha256.clone()));
        assert!(import_into(home.path(), &verified.path, "known").is_ok(), "again, from where it is");
        std::fs::remove_file(&verified.path).unwrap();
        write_tiny_model(&verified.path, GgmlDType::Q4_0);
        let again = import_into(home.path(), &verified.path, "known");
        assert!(matches!(again, Err(LlmError::WrongHash { .. })), "{again:?}");
    }

    #[test]
    fn a_name_without_a_manifest_gets_one_with_the_files_hash() {
        let (home, folder) = (home(), tempfile::tempdir().unwrap());
        let path = folder.path().join("some.gguf");
        write_tiny_model(&path, GgmlDType::Q8_0);
        let verified = import_into(home.path(), folder.path(), "own").unwrap();
        let catalogue = Catalogue::read(home.path()).unwrap();
        let manifest = catalogue.manifest("own").unwrap();
        assert_eq!((&manifest.sha256, manifest.bytes), (&verified.sha256, verified.bytes));
        assert_eq!((manifest.architecture.as_str(), manifest.context), ("qwen2", 256));
    }

    #[test]
    fn a_hugging_face_cache_is_searched_for_the_manifests_file() {
        let (home, cache) = (home(), tempfile::tempdir().unwrap());
        let snapshot = cache.path().join("models--some--known/snapshots/12");
        std::fs::create_dir_all(&snapshot).unwrap();
        write_tiny_model(&snapshot.join("k.gguf"), GgmlDType::Q8_0);
        assert!(import_into(home.path(), cache.path(), "known").is_ok());
    }

    #[test]
    fn an_archive_of_a_folder_is_unpacked_for_the_import_and_leaves_nothing_else() {
        let (home, folder) = (home(), tempfile::tempdir().unwrap());
        let file = folder.path().join("k.gguf");
        write_tiny_model(&file, GgmlDType::Q8_0);
        let path = folder.path().join("carried.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        tar.append_path_with_name(&file, "hub/models--some--known/snapshots/1/k.gguf").unwrap();
        tar.append_path_with_name(&file, "hub/models--other--known/snapshots/1/known.gguf").unwrap();
        tar.finish().unwrap();
        let verified = import_into(home.path(), &path, "known").unwrap();
        assert_eq!(pinned(&verified.path), Some(verified.sha256));
        let left: Vec<_> = std::fs::read_dir(home.path().join("models")).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "{left:?}");
        std::fs::write(&path, [7; 2_000]).unwrap();
        let damaged = import_into(home.path(), &path, "known").unwrap_err().to_string();
        assert!(damaged.contains("carried.tar"), "{damaged}");
    }

    /// A zip archive of stored members.
    fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes) in members {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            let start = archive.len() as u32;
            // Version, flags, method, time, date; check sum, sizes, length of the name, no extra field.
            let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            for number in [crc.sum(), bytes.len() as u32, bytes.len() as u32, name.len() as u32] {
                common.extend(number.to_le_bytes());
            }
            archive.extend([b"PK\x03\x04", &common[..], name.as_bytes(), bytes].concat());
            let own = [&[0; 10][..], &start.to_le_bytes()].concat();
            directory.extend([b"PK\x01\x02\x14\0", &common[..], &own, name.as_bytes()].concat());
        }
        let (start, length) = (archive.len() as u32, directory.len() as u32);
        let count = (members.len() as u16).to_le_bytes();
        archive.extend(directory);
        archive.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
        archive.extend([&length.to_le_bytes()[..], &start.to_le_bytes(), &[0; 2]].concat());
        archive
    }

    #[test]
    fn a_zip_archive_is_imported_and_a_member_that_climbs_out_is_left_out() {
        let (home, folder) = (home(), tempfile::tempdir().unwrap());
        let file = folder.path().join("known.gguf");
        write_tiny_model(&file, GgmlDType::Q8_0);
        let bytes = std::fs::read(&file).unwrap();
        let path = folder.path().join("carried.zip");
        std::fs::write(&path, zipped(&[("../known.gguf", b"GGUF"), ("deep/known.gguf", &bytes)])).unwrap();
        let verified = import_into(home.path(), &path, "known").unwrap();
        assert_eq!(std::fs::read(&verified.path).unwrap(), bytes);
        std::fs::remove_file(&verified.path).unwrap();
        std::fs::write(&path, zipped(&[("../known.gguf", &bytes)])).unwrap();
        let refused = import_into(home.path(), &path, "known").unwrap_err().to_string();
        assert!(refused.contains("`known.gguf`"), "{refused}");
    }

    #[test]
    fn the_directory_of_a_known_model_is_converted_as_its_file_is_named() {
        let home = home();
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codegen-tiny");
        let verified = import_into(home.path(), &source, "codegen-350m-mono").unwrap();
        assert!(verified.path.ends_with("codegen-350m-mono/codegen-350m-mono-q4_k_m.gguf"));
        assert_eq!(pinned(&verified.path), Some(verified.sha256));
    }

    #[test]
    fn what_is_not_a_usable_file_is_refused_by_name_and_leaves_nothing() {
        let (home, folder) = (home(), tempfile::tempdir().unwrap());
        let refusal = |source: &std::path::Path, name: &str| {
            import_into(home.path(), source, name).unwrap_err().to_string()
        };
        assert!(refusal(folder.path(), "known").contains("`known.gguf`"));
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert!(refusal(folder.path(), "known").contains("models convert"));
        let path = folder.path().join("x.gguf");
        std::fs::write(&path, "GGUF").unwrap();
        assert!(refusal(&path, "known").contains("x.gguf"));
        assert!(refusal(&path, "codegen").contains("alias"));
        write_tiny_model(&path, GgmlDType::Q8_0);
        assert!(refusal(&path, "codegen-350m-mono").contains("expected architecture `codegen`"));
        assert!(!home.path().join("models/known").exists());
    }
}
