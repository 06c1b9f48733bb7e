//! One file per subcommand: arguments to library calls, results to words.

pub(crate) mod bench;
pub(crate) mod bench_llm;
pub(crate) mod bench_prompts;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod models;
pub(crate) mod operators;
pub(crate) mod predict;
pub(crate) mod run;
pub(crate) mod search;

use std::path::{Path, PathBuf};
use std::thread;

use llmatic_offline::config::Device;
use llmatic_offline::lower::ImportResolver;

use super::Failure;

/// Threads of this machine.
pub(crate) fn machine_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What `auto` stands for here: CUDA if this program can use it and a device is there.
pub(crate) fn machine_device() -> Device {
    // A container may have been given another GPU than the machine's first; libtorch and candle count from 0 there too.
    let is_gpu = |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let mut files = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let there = cfg!(feature = "cuda") && files.any(|file| file.file_name().to_str().is_some_and(is_gpu));
    if there { Device::Cuda(0) } else { Device::Cpu }
}

/// The text of a file that the user named.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::refused(format!("{}: {error}", path.display())))
}

/// Finds modules that a source imports as files beside it, or in the packages that it is a part of.
#[derive(Debug)]
pub(crate) struct Beside {
    /// Where dotted names begin: the folder of the outermost package, then that of the file.
    roots: Vec<PathBuf>,
    /// The dotted name of the package.
    package: String,
}

impl Beside {
    /// The folder of `file`, and the folders above it as far as they are packages.
    pub(crate) fn of(file: &Path) -> Beside {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let folder = file.parent().unwrap_or(Path::new(""));
        let (mut root, mut package) = (folder, Vec::new());
        while let (true, Some(name), Some(above)) =
            (root.join("__init__.py").is_file(), root.file_name(), root.parent())
        {
            package.insert(0, name.to_string_lossy().into_owned());
            root = above;
        }
        let mut roots = vec![root.to_owned()];
        if root != folder {
            roots.push(folder.to_owned());
        }
        Beside { roots, package: package.join(".") }
    }
}

impl ImportResolver for Beside {
    fn resolve(&self, name: &str) -> Option<(String, bool)> {
        // A dotted name has identifiers only, so it cannot lead out of the folder.
        let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !name.split('.').all(plain) {
            return None;
        }
        self.roots.iter().find_map(|root| {
            let path = name.split('.').fold(root.clone(), |path, part| path.join(part));
            let package = std::fs::read_to_string(path.join("__init__.py")).ok().map(|text| (text, true));
            package.or_else(|| Some((std::fs::read_to_string(path.with_extension("py")).ok()?, false)))
        })
    }

    fn package(&self) -> &str {
        &self.package
    }
}
