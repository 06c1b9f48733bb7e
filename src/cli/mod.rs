//! The program on the terminal: arguments to library calls, results and errors to words and exit codes.
//!
//! Data go to standard output, everything else to standard error. One limit: texts are English.

mod args;
mod commands;
mod printer;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser;
use llmatic_offline::config::ConfigError;
use llmatic_offline::llm::LlmError;
use llmatic_offline::search::{ErrorClass, EvaluatorError, SearchError};

use args::{Args, Command};

/// How the program ends; `--help` documents the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Something given was refused: a file, a value, a model, data, a source.
    Refused = 1,
    /// Wrong use of the command line (clap's own number).
    Usage = 2,
    /// The program or the machine failed.
    Failed = 3,
    /// Stopped by Ctrl-C; a search can be resumed.
    Interrupted = 130,
}

/// Why a command did not succeed: said once, on standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    pub(crate) fn refused(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, exit: Exit::Refused }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, exit: Exit::Failed }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// A diagnostic that brings its own `error:`, such as one with line and caret.
    fn text(&self) -> String {
        let mut text = match self.message.strip_prefix("error: ") {
            Some(_) => self.message.clone(),
            None => format!("error: {}", self.message),
        };
        if let Some(hint) = &self.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text
    }
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Failure {
        let exit = match error.class() {
            ErrorClass::Input => Exit::Refused,
            ErrorClass::Failure => Exit::Failed,
            ErrorClass::Interrupted => Exit::Interrupted,
        };
        Failure { hint: error.hint(), message: error.to_string(), exit }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        SearchError::from(error).into()
    }
}

impl From<LlmError> for Failure {
    fn from(error: LlmError) -> Failure {
        SearchError::from(error).into()
    }
}

impl From<EvaluatorError> for Failure {
    fn from(error: EvaluatorError) -> Failure {
        SearchError::from(error).into()
    }
}

/// Run the program with these arguments.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // clap's own words, to its own stream; a closed pipe is no reason to complain.
            let _ = error.print();
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return ExitCode::from(exit as u8);
        }
    };
    let written = || match printer::lost() {
        Some(error) => Err(Failure::failed(format!("standard output: {error}"))),
        None => Ok(()),
    };
    let exit = match guarded(|| dispatch(args.command)).and_then(|()| written()) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            printer::note(&failure.text());
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Search(args) => commands::search::search(&args),
        Command::Resume(args) => commands::search::resume(&args),
        Command::Digest(args) => commands::run::digest(&args),
        Command::Report(args) => commands::run::report(&args),
        Command::Inspect(args) => commands::inspect::inspect(&args),
        Command::Generate(args) => commands::generate::generate(&args),
        Command::Predict(args) => commands::predict::predict(&args),
        Command::Doctor => commands::doctor::doctor(),
        Command::Models(args) => commands::models::models(&args),
        Command::Bench(args) => commands::bench::bench(&args),
    }
}

/// Run `action`; a panic becomes a failure with its message instead of a trace on the terminal.
fn guarded(action: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let said = Arc::new(Mutex::new(String::new()));
    let hook = Arc::clone(&said);
    std::panic::set_hook(Box::new(move |info| {
        if let Ok(mut said) = hook.lock() {
            *said = info.to_string();
        }
    }));
    catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|_| {
        let said = said.lock().map(|said| said.replace('\n', " ")).unwrap_or_default();
        Err(Failure::failed(format!("the program contradicts itself: {said}"))
            .hint("this is a defect; a started search is kept and can be resumed"))
    })
}
