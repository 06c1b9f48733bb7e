//! A recorded run to one HTML page: archive, progress, elites with their source, yield of operators and
//! prompts.
//!
//! Input: a [`RunRecord`]. Output: text that needs nothing else (inline CSS and SVG, no script, no network).
//! Computes nothing that the records do not say. One limit: sources are in the page, so it grows with the
//! archive.

mod chart;
mod voronoi;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::DescriptorKind;
use crate::search::{Candidate, Operator, RunRecord, VERDICTS, Verdict};

use chart::{Line, Niche};

const STYLE: &str = include_str!("style.css");

/// Niches that a map of the archive may have.
const MOST_DRAWN: usize = 10_000;

/// The page of a run, finished or not.
pub fn html(run: &RunRecord) -> String {
    let title = format!("{} on {}, seed {}", run.row.model, run.row.data, run.row.seed);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{0}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    let _ = writeln!(
        page,
        "<p class=\"sub\">llmatic-offline {} · model sha256 {} · data sha256 {}<br>\
         digest <code>{}</code></p>",
        escape(&run.row.program),
        escape(&run.row.model_sha256),
        escape(&run.row.data_sha256),
        escape(&run.state.digest)
    );
    tiles(&mut page, run);
    page.push_str("<div class=\"pair\"><section><h2>Archive</h2>\n");
    page.push_str(&archive(run));
    page.push_str("</section><section><h2>Over the generations</h2>\n");
    page.push_str(&progress(run));
    page.push_str("</section></div>\n");
    elites(&mut page, run);
    yields(&mut page, run);
    page.push_str("<h2>Configuration</h2><details><summary>config.toml</summary><pre>");
    page.push_str(&escape(&run.row.config));
    page.push_str("</pre></details>\n</body></html>\n");
    page
}

/// Text that means itself in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn tiles(page: &mut String, run: &RunRecord) {
    let stats = run.state.archive.stats();
    // Nobody wrote the seed network.
    let written = || run.candidates.iter().filter(|candidate| candidate.operator != Operator::Seed);
    let final_ones = || written().filter(|candidate| !candidate.retried);
    let count = |test: fn(&Candidate) -> bool| final_ones().filter(|candidate| test(candidate)).count();
    let trained = final_ones().filter(|candidate| candidate.verdict == Verdict::Accepted).count();
    let best = run.results.iter().find(|row| row.best);
    page.push_str("<div class=\"tiles\">");
    let mut tile = |value: String, name: &str| {
        let _ = write!(page, "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>");
    };
    accuracy(&mut tile, best.map(|row| row.validation).or(stats.best), "best validation accuracy");
    accuracy(&mut tile, best.and_then(|row| row.test), "its test accuracy");
    tile(format!("{} / {}", stats.elites, run.state.archive.niches().centroids().len()), "niches filled");
    tile(format!("{:.3}", stats.qd_score), "QD-score (sum of fitness)");
    tile(format!("{}", written().count()), "texts written");
    tile(format!("{}", count(Candidate::valid)), "are networks");
    tile(format!("{trained}"), "were trained");
    tile(format!("{}", stats.clipped), "descriptors clipped");
    page.push_str("</div>\n");
}

fn accuracy(tile: &mut impl FnMut(String, &str), value: Option<f64>, name: &str) {
    tile(value.map_or_else(|| "–".into(), |value| format!("{:.2} %", 100.0 * value)), name);
}

fn archive(run: &RunRecord) -> String {
    let state = &run.state;
    let count = state.archive.niches().centroids().len();
    if count > MOST_DRAWN {
        return format!("<p>No map: {count} niches are too many to tell apart in one.</p>");
    }
    let elites: BTreeMap<usize, _> = state.archive.elites().collect();
    let niches: Vec<Niche> = voronoi::polygons(state.archive.niches().centroids())
        .into_iter()
        .enumerate()
        .map(|(index, polygon)| {
            let elite = elites.get(&index);
            let title = match elite {
                Some(elite) => format!("niche {index}: {:.4}, candidate {}", elite.fitness, elite.id),
                None => format!("niche {index}: empty"),
            };
            Niche { polygon, fitness: elite.map(|elite| elite.fitness), title }
        })
        .collect();
    let archive = &run.config.archive;
    let axis = |descriptor: DescriptorKind| {
        let [low, high] = archive.range(descriptor);
        (descriptor.title(), low, high)
    };
    chart::heat_map(&niches, [axis(archive.x), axis(archive.y)])
}

fn progress(run: &RunRecord) -> String {
    let line = |name, class, value: fn(&crate::search::GenerationRow) -> Option<f64>| Line {
        name,
        class,
        points: run.generations.iter().filter_map(|row| Some((row.number as f64, value(row)?))).collect(),
    };
    let lines = [
        line("best validation accuracy", "best", |row| row.best),
        line("mean of the elites", "mean", |row| row.mean),
        line("coverage", "cover", |row| Some(row.coverage)),
    ];
    let last = run.generations.last().map_or(0.0, |row| row.number as f64);
    chart::lines(&lines, last, "generation", "Fitness and coverage over the generations")
}

fn elites(page: &mut String, run: &RunRecord) {
    page.push_str(
        "<h2>Elites</h2><div class=\"wide\"><table><tr><th class=\"n\">niche</th><th>candidate</th>\
         <th class=\"n\">validation</th><th class=\"n\">test</th><th class=\"n\">parameters</th>\
         <th class=\"n\">MACs</th><th>came by</th></tr>\n",
    );
    let percent =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{:.2} %", 100.0 * value));
    for (niche, elite) in run.state.archive.ranked() {
        let Some(candidate) = run.candidates.iter().find(|it| it.id == elite.id && !it.retried) else {
            continue;
        };
        let result = run.results.iter().find(|row| row.id == elite.id);
        let facts = candidate.facts.as_ref();
        let chosen = if result.is_some_and(|row| row.best) { " class=\"chosen\"" } else { "" };
        let _ = write!(
            page,
            "<tr{chosen}><td class=\"n\">{niche}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            elite.id,
            percent(Some(result.map_or(elite.fitness, |row| row.validation))),
            percent(result.and_then(|row| row.test)),
            grouped(facts.map_or(0, |facts| facts.parameters)),
            grouped(facts.map_or(0, |facts| facts.macs)),
            escape(&origin(candidate))
        );
        let _ = writeln!(
            page,
            "<tr class=\"source\"><td></td><td colspan=\"6\"><details><summary>source</summary><pre>{}</pre>\
             </details></td></tr>",
            escape(&elite.source)
        );
    }
    page.push_str("</table></div>\n");
}

/// Operator, instruction, parents and repairs in words.
fn origin(candidate: &Candidate) -> String {
    let mut text = candidate.operator.name().to_owned();
    let parents: Vec<String> = candidate.parents.iter().map(ToString::to_string).collect();
    if !parents.is_empty() {
        let temperature = candidate.temperature;
        text = format!("{text} of {}: {} at {temperature:.2}", parents.join(" and "), candidate.instruction);
    }
    if !candidate.repairs.is_empty() {
        text = format!("{text}; repaired: {}", candidate.repairs.join("; "));
    }
    text
}

/// Digits in groups of three, by thin spaces.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join("\u{202f}")
}

/// What each operator and each instruction came to.
fn yields(page: &mut String, run: &RunRecord) {
    let mut operators: BTreeMap<String, Vec<&Candidate>> = BTreeMap::new();
    let mut instructions: BTreeMap<String, Vec<&Candidate>> = BTreeMap::new();
    for candidate in run.candidates.iter().filter(|candidate| candidate.prompt.is_some()) {
        operators.entry(candidate.operator.name().to_owned()).or_default().push(candidate);
        instructions.entry(candidate.instruction.clone()).or_default().push(candidate);
    }
    // A column that is zero all the way down only pushes the others off the page.
    let count = |rows: &[&Candidate], verdict: Verdict| {
        rows.iter().filter(|row| !row.retried && row.verdict == verdict).count()
    };
    let all: Vec<&Candidate> = operators.values().flatten().copied().collect();
    let verdicts: Vec<Verdict> = VERDICTS.into_iter().filter(|&verdict| count(&all, verdict) > 0).collect();
    for (title, groups) in [("Yield by operator", operators), ("Yield by instruction", instructions)] {
        let _ = write!(
            page,
            "<h2>{title}</h2><div class=\"wide\"><table class=\"yield\"><tr><th></th>\
             <th class=\"n\">written</th>\
             <th class=\"n\">asked again</th><th class=\"n\">new networks</th><th class=\"n\">archived</th>\
             <th class=\"n\">tokens per new network</th>\
             <th class=\"n\">tokens per archived</th>"
        );
        for verdict in &verdicts {
            let _ = write!(page, "<th class=\"n\">{}</th>", verdict.name().replace('_', " "));
        }
        page.push_str("</tr>\n");
        for (name, rows) in groups {
            let retried = rows.iter().filter(|row| row.retried).count();
            let archived = rows.iter().filter(|row| row.archived()).count() as u64;
            let tokens: u64 = rows.iter().map(|row| row.cost.completion_tokens).sum();
            let novel = rows.iter().filter(|row| row.novel()).count() as u64;
            let per = |count: u64| tokens.checked_div(count).map_or_else(|| "–".to_owned(), grouped);
            let (each, each_novel) = (per(archived), per(novel));
            let _ = write!(
                page,
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{retried}</td>\
                 <td class=\"n\">{novel}</td><td class=\"n\">{archived}</td><td class=\"n\">{each_novel}</td>\
                 <td class=\"n\">{each}</td>",
                escape(&name),
                rows.len()
            );
            for &verdict in &verdicts {
                let _ = write!(page, "<td class=\"n\">{}</td>", count(&rows, verdict));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table></div>\n");
    }
}
