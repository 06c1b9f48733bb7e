//! `digest` and `report`: what a recorded run says.
//!
//! One limit: both replay the whole run, a second for some ten thousand candidates.

use std::path::{Path, PathBuf};

use llmatic_offline::{report, search};

use crate::cli::args::RunArgs;
use crate::cli::{Failure, printer};

/// `digest DIR`
pub(crate) fn digest(args: &RunArgs) -> Result<(), Failure> {
    let digest = search::digest(&args.directory)?.ok_or_else(|| {
        let message = format!("{}: no generation was committed yet", args.directory.display());
        let resume = format!("go on with: llmatic-offline resume {}", search::in_shell(&args.directory));
        Failure::refused(message).hint(resume)
    })?;
    printer::data(&digest);
    Ok(())
}

/// `report DIR`
pub(crate) fn report(args: &RunArgs) -> Result<(), Failure> {
    let path = write_report(&args.directory)?;
    printer::data(&path.display().to_string());
    Ok(())
}

/// Write the report of the run in `directory`.
pub(crate) fn write_report(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join("report.html");
    let page = report::html(&search::load(directory)?);
    search::write_whole(&path, page.as_bytes())?;
    Ok(path)
}
