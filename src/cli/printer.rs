//! Words on the terminal: search events as a live bar, as plain lines, or as JSON; tables; notes.
//!
//! Input: [`Event`]s. Output: standard output for data, standard error for the rest. One limit: a stream that
//! was closed by its reader is silently given up.

use std::io::{ErrorKind, IsTerminal, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use llmatic_offline::search::{Event, GenerationRow, ResultRow, Summary};

/// Plain lines about a phase come at most so often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// The first error of standard output that is not its reader's end.
static LOST: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// A line on standard output.
pub(crate) fn data(line: &str) {
    raw(&format!("{line}\n"));
}

/// Text on standard output as it is.
pub(crate) fn raw(text: &str) {
    let mut out = std::io::stdout();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != ErrorKind::BrokenPipe
        && let Ok(mut lost) = LOST.lock()
    {
        lost.get_or_insert(error);
    }
}

/// Why standard output has not got everything, if a full disk or the like kept it from it.
pub(crate) fn lost() -> Option<std::io::Error> {
    LOST.lock().ok()?.take()
}

/// A line on standard error.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Rows under a header, columns as wide as they need to be; columns in `right` are set to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let lines = std::iter::once(line(&header)).chain(rows.iter().map(|row| line(row)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Shows a search.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    generations: u64,
    first: u64,
    /// Whether the last generation is committed.
    finishing: bool,
    best: Option<f64>,
    tokens: u64,
    writing_seconds: f64,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Printer {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        Printer {
            json,
            bar,
            started: now,
            last_line: now,
            generations: 0,
            first: 0,
            finishing: false,
            best: None,
            tokens: 0,
            writing_seconds: 0.0,
        }
    }

    /// Show an event.
    pub(crate) fn event(&mut self, event: &Event) {
        if self.json
            && let Ok(line) = serde_json::to_string(event)
        {
            data(&line);
        }
        match event {
            Event::Started { directory, model, data, device, seed, committed, generations, children } => {
                (self.generations, self.first) = (*generations, *committed);
                self.started = Instant::now();
                let verb = if *committed == 0 { "searching" } else { "going on" };
                self.say(&format!(
                    "{verb}: {model} on {data}, {device}, seed {seed}, {} generations of {children} candidates, in \
                     {directory}",
                    generations - 1
                ));
                if *committed > 0 {
                    self.say(&format!("generations 0 to {} are committed", committed - 1));
                }
                self.place(*committed);
            }
            Event::Writing { generation, tokens, rows, per_second, attempt } => {
                let again = if *attempt > 0 { ", asking copies again" } else { "" };
                self.phase(
                    *generation,
                    &format!("writing: {tokens} tokens, {rows} rows, {per_second:.0} tokens/s{again}"),
                );
            }
            Event::Training { generation, done, of, steps, of_steps } => {
                // What is trained after the last generation is the winner, for its final steps.
                let what = if self.finishing {
                    "training the best network further".to_owned()
                } else {
                    format!("training: {done}/{of} networks")
                };
                self.phase(*generation, &format!("{what}, step {steps}/{of_steps}"));
            }
            Event::Candidate { .. } => {}
            Event::Generation(row) => self.generation(row),
            Event::Finishing { elites } => {
                self.finishing = true;
                self.say(&format!("measuring {elites} elites on the test split, once"));
            }
            Event::Result(_) => {}
            Event::Finished(_) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(line)),
            None => note(line),
        }
    }

    fn generation(&mut self, row: &GenerationRow) {
        self.best = row.best;
        self.tokens += row.tokens;
        self.writing_seconds += row.generate_seconds;
        let done = row.number + 1;
        // The seed network alone, generation 0, says nothing about how long the others take.
        if row.number == 0 {
            (self.started, self.first) = (Instant::now(), 1);
        }
        let measured = done.saturating_sub(self.first);
        let per_generation = self.started.elapsed().as_secs_f64() / measured.max(1) as f64;
        let left = per_generation * self.generations.saturating_sub(done) as f64;
        let best = row.best.map_or_else(|| "none".to_owned(), |best| format!("{:.2} %", 100.0 * best));
        let known = measured > 0 && done < self.generations;
        let eta = if known { format!(", ETA {}", minutes(left)) } else { String::new() };
        let speed = if row.generate_seconds > 0.0 && row.tokens > 0 {
            format!(", {:.0} tokens/s", row.tokens as f64 / row.generate_seconds)
        } else {
            String::new()
        };
        self.say(&format!(
            "generation {}/{}: {} written ({} known ones asked again), {} valid, {} novel, {} archived, {} niches, \
             best {best}{speed}{eta}",
            row.number,
            self.generations - 1,
            row.candidates + row.retried,
            row.retried,
            row.valid,
            row.novel,
            row.archived,
            row.elites
        ));
        self.place(done);
    }

    fn place(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(self.generations);
            bar.set_position(done);
        }
    }

    fn phase(&mut self, generation: u64, text: &str) {
        let prefix = if self.finishing { "final".to_owned() } else { format!("generation {generation}") };
        let best = self.best.map_or_else(String::new, |best| format!(", best {:.2} %", 100.0 * best));
        if let Some(bar) = &self.bar {
            bar.set_prefix(prefix);
            bar.set_message(format!("{text}{best}"));
        } else if self.last_line.elapsed() >= PLAIN_INTERVAL {
            self.last_line = Instant::now();
            note(&format!("{prefix}: {text}{best}"));
        }
    }
}

/// The end of a search in words.
pub(crate) fn summary(summary: &Summary, results: &[ResultRow]) -> String {
    let percent =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{:.2} %", 100.0 * value));
    let rows: Vec<Vec<String>> = results
        .iter()
        .take(10)
        .map(|row| {
            vec![row.file.clone(), row.id.to_string(), percent(Some(row.validation)), percent(row.test)]
        })
        .collect();
    let mut text = table(&["elite", "candidate", "validation", "test"], &rows, &[2, 3]);
    if results.len() > 10 {
        text.push_str(&format!("\n... and {} more in {}/elites", results.len() - 10, summary.directory));
    }
    text.push_str(&format!(
        "\n\n{} generations: {} texts written ({} known ones asked again), {} valid, {} trained; {} of {} niches \
         filled, QD-score {:.3}, mean of the elites {}",
        summary.generations - 1,
        summary.candidates - 1,
        summary.retried,
        summary.valid,
        summary.trained,
        summary.elites,
        summary.niches,
        summary.qd_score,
        percent(summary.mean)
    ));
    if summary.given_up > 0 {
        text.push_str(&format!(
            "\n{} texts were given up as soon as they could not become a class: up to {} tokens saved",
            summary.given_up,
            grouped(summary.saved_tokens)
        ));
    }
    if let (Some(tokens), Some(seconds)) = (summary.tokens_per_trained, summary.seconds_per_trained) {
        text.push_str(&format!(
            "\nper trained network: {tokens:.0} tokens, {seconds:.2} s; {} copies and {} duplicates",
            summary.copies, summary.duplicates
        ));
    }
    for row in &summary.yields {
        let each = row.tokens.checked_div(row.novel).map_or_else(|| "-".to_owned(), grouped);
        text.push_str(&format!(
            "\n{}: {} texts, {} new networks, {} archived, {each} tokens per new network",
            row.operator, row.texts, row.novel, row.archived
        ));
    }
    if let Some(best) = &summary.best {
        text.push_str(&format!(
            "\nbest: {} validation, {} test ({} parameters; the seed network had {} validation)",
            percent(Some(best.validation)),
            percent(best.test),
            grouped(summary.parameters),
            percent(summary.seed_validation)
        ));
    }
    text.push_str(&format!("\nsource:  {}", summary.source));
    if let Some(weights) = &summary.weights {
        text.push_str(&format!("\nweights: {weights}"));
    }
    text.push_str(&format!("\nreport:  {}/report.html\ndigest:  {}", summary.directory, summary.digest));
    text
}

fn minutes(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!([grouped(7), grouped(1234), grouped(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!([minutes(59.4), minutes(61.0), minutes(3720.0)], ["59 s", "1 min 01 s", "1 h 02 min"]);
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["n", "x"], &rows, &[1]), "n      x\na     10\nlong   7");
    }
}
