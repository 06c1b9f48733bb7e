//! Results of the NAS-Bench-201 benchmark as CSV, Markdown and the curves of the SVG.
//!
//! Input: [`BenchResult`]s; output: text. The Markdown table stands beside the figures that others published, which
//! are test accuracies. Nothing is computed here but means and deviations over seeds.

use std::fmt::Write as _;

use crate::bench::curve::mean_difference;
use crate::bench::nasbench201::{BenchResult, DataSet};
use crate::bench::svg::{self, Chart, Line};

/// Evaluations at which tables compare methods.
pub const MILESTONES: [usize; 6] = [20, 50, 100, 200, 500, 2000];

/// Deviations of the mean on either side of it that hold it in 95 of 100 cases.
const NORMAL_95: f64 = 1.96;

/// A published result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// The method, with its model if there is one.
    pub method: &'static str,
    /// Test accuracy on CIFAR-10, CIFAR-100 and ImageNet16-120, per cent.
    pub test: [f64; 3],
    /// Evaluations used, as published.
    pub evaluations: &'static str,
}

/// Results published by others, from the papers of the methods; "-" where the number of evaluations is not given.
pub const PUBLISHED: [Published; 7] = [
    Published { method: "random search", test: [93.83, 71.52, 45.37], evaluations: "-" },
    Published { method: "regularised evolution", test: [94.23, 72.82, 46.49], evaluations: "about 200" },
    Published { method: "GENIUS (GPT-4)", test: [93.79, 70.91, 44.96], evaluations: "10" },
    Published { method: "LLMatic (CodeGen-6.1B)", test: [94.26, 71.62, 45.87], evaluations: "2,000" },
    Published { method: "RZ-NAS (GPT-4o)", test: [94.24, 73.30, 46.24], evaluations: "1,500 proxy calls" },
    Published { method: "LM-Searcher (tuned 8B)", test: [94.20, 72.96, 46.51], evaluations: "-" },
    Published {
        method: "CoLLM-NAS (local 30B-A3B)",
        test: [94.37, 73.44, 46.79],
        evaluations: "at most 100",
    },
];

/// The any-time curves, one row per result and evaluation.
///
/// Columns: dataset, method, seeds, evaluations, mean and sample deviation of the best validation accuracy and of the
/// test accuracy that goes with it (per cent), share of searches that had found the optimum.
pub fn csv(results: &[BenchResult]) -> String {
    let mut text = String::from(
        "dataset,method,seeds,evaluations,validation_mean,validation_std,test_mean,test_std,found_share\n",
    );
    for result in results {
        for evaluations in 1..=result.evaluations() {
            let (validation, test) = (result.validation.at(evaluations), result.test.at(evaluations));
            let _ = writeln!(
                text,
                "{},{},{},{evaluations},{:.4},{:.4},{:.4},{:.4},{:.2}",
                result.dataset.name(),
                csv_name(&result.method),
                result.seeds(),
                validation.mean,
                validation.deviation,
                test.mean,
                test.deviation,
                result.found_by(evaluations)
            );
        }
    }
    text
}

/// A Markdown table of the results on one data set: validation at the milestones, then found and test at the end.
pub fn markdown(results: &[BenchResult]) -> String {
    let longest = results.iter().map(BenchResult::evaluations).max().unwrap_or(0);
    let milestones: Vec<usize> = MILESTONES.into_iter().filter(|&m| m <= longest).collect();
    let mut text = String::from("| method | seeds |");
    for milestone in &milestones {
        let _ = write!(text, " {milestone} |");
    }
    let _ = writeln!(text, " optimum found by {longest} | median evaluations to it | test at {longest} |");
    text += "|---|";
    text += &"---|".repeat(milestones.len() + 4);
    text.push('\n');
    for result in results {
        let _ = write!(text, "| {} | {} |", result.method, result.seeds());
        for &milestone in &milestones {
            if milestone > result.evaluations() {
                text += " |";
                continue;
            }
            let point = result.validation.at(milestone);
            let _ = write!(text, " {:.2} ± {:.2} |", point.mean, point.deviation);
        }
        let test = result.test.at(result.evaluations());
        let found = 100.0 * result.found_by(result.evaluations());
        let median = median(&result.found_at).map_or("-".to_owned(), |m| m.to_string());
        let _ = writeln!(text, " {found:.0} % | {median} | {:.2} ± {:.2} |", test.mean, test.deviation);
    }
    text
}

/// A Markdown table of the first result against each other one, paired by seed: mean difference of the best validation
/// accuracy, in points, and its standard error.
pub fn paired_markdown(results: &[BenchResult]) -> String {
    let Some((first, others)) = results.split_first() else { return String::new() };
    let milestones: Vec<usize> = MILESTONES.into_iter().filter(|&m| m <= first.evaluations()).collect();
    let mut text = format!("| {} minus |", first.method);
    for milestone in &milestones {
        let _ = write!(text, " {milestone} |");
    }
    text += "\n|---|";
    text += &"---|".repeat(milestones.len());
    text.push('\n');
    for other in others {
        let _ = write!(text, "| {} |", other.method);
        for &milestone in &milestones {
            let of = |result: &BenchResult| result.validation.values_at(milestone);
            let differences: Vec<f64> = (first.seeds.iter().zip(of(first)))
                .filter_map(|(seed, value)| {
                    let place = other.seeds.iter().position(|other| other == seed)?;
                    Some(value - of(other).get(place)?)
                })
                .collect();
            let _ = write!(text, " {} |", mean_difference(&differences, 2));
        }
        text.push('\n');
    }
    text
}

/// A name without the comma that would end a field.
fn csv_name(method: &str) -> String {
    method.replace(", ", " ")
}

/// The published figures for one data set, as Markdown.
pub fn published_markdown(dataset: DataSet) -> String {
    let mut text = String::from("| published method | test | evaluations |\n|---|---|---|\n");
    for published in PUBLISHED {
        let test = published.test[dataset as usize];
        let _ = writeln!(text, "| {} | {test:.2} | {} |", published.method, published.evaluations);
    }
    text
}

/// The validation curves of results on one data set as a self-contained SVG.
pub fn svg(results: &[BenchResult]) -> String {
    let Some(first) = results.first() else { return String::new() };
    let lines = results.iter().map(|result| Line {
        name: result.method.clone(),
        points: (1..=result.evaluations())
            .map(|evaluations| {
                let point = result.validation.at(evaluations);
                (evaluations as f64, point.mean, NORMAL_95 * point.deviation / (result.seeds() as f64).sqrt())
            })
            .collect(),
    });
    svg::draw(&Chart {
        title: format!("NAS-Bench-201, {}: best validation accuracy so far", first.dataset.title()),
        x_label: "evaluations (distinct cells, log scale)".to_owned(),
        y_label: "validation accuracy, %".to_owned(),
        note: format!("mean of {} seeds; band: 95 % interval of the mean", first.seeds()),
        reference: Some(("optimum of the table".to_owned(), first.optimum)),
        lines: lines.collect(),
    })
}

/// The median over all searches, if more than half of them found the optimum: of an even number the mean of the two in
/// the middle.
fn median(found_at: &[Option<usize>]) -> Option<f64> {
    let mut at: Vec<f64> =
        found_at.iter().map(|found| found.map_or(f64::INFINITY, |found| found as f64)).collect();
    at.sort_by(f64::total_cmp);
    let (low, high) = (at.get(at.len().saturating_sub(1) / 2)?, at.get(at.len() / 2)?);
    Some((low + high) / 2.0).filter(|median| median.is_finite())
}

#[cfg(test)]
mod tests {
    use crate::bench::curve::Curve;
    use crate::bench::nasbench201::report::{
        PUBLISHED, csv, markdown, median, paired_markdown, published_markdown, svg,
    };
    use crate::bench::nasbench201::{BenchResult, DataSet};

    /// Two searches of 20 evaluations; the second finds the optimum, 60, at its last.
    fn result() -> BenchResult {
        let mut second = vec![40.0; 20];
        second[19] = 60.0;
        BenchResult {
            dataset: DataSet::Cifar100,
            method: "local".into(),
            seeds: vec![3, 4],
            validation: Curve::new(vec![vec![50.0; 20], second.clone()]),
            test: Curve::new(vec![vec![51.0; 20], second]),
            found_at: vec![None, Some(20)],
            optimum: 60.0,
        }
    }

    #[test]
    fn csv_has_a_row_per_evaluation_with_means_and_deviations() {
        let text = csv(&[result()]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 21);
        assert_eq!(rows[1], "cifar100,local,2,1,45.0000,7.0711,45.5000,7.7782,0.00");
        assert_eq!(rows[20], "cifar100,local,2,20,55.0000,7.0711,55.5000,6.3640,0.50");
    }

    #[test]
    fn markdown_shows_the_milestones_that_were_reached() {
        let expected = "\
| method | seeds | 20 | optimum found by 20 | median evaluations to it | test at 20 |
|---|---|---|---|---|---|
| local | 2 | 55.00 ± 7.07 | 50 % | - | 55.50 ± 6.36 |
";
        assert_eq!(markdown(&[result()]), expected);
        let published = published_markdown(DataSet::ImageNet16);
        assert_eq!(published.lines().count(), 2 + PUBLISHED.len());
        assert!(published.contains("| LLMatic (CodeGen-6.1B) | 45.87 | 2,000 |"));
    }

    #[test]
    fn differences_are_taken_seed_by_seed() {
        let mut other = result();
        other.method = "none, shuffled".into();
        other.seeds = vec![4, 7, 3];
        other.validation = Curve::new(vec![vec![57.0; 20], vec![0.0; 20], vec![49.0; 20]]);
        // Seeds 3 and 4: +1 and +3, mean 2, deviation sqrt 2, standard error 1.
        let expected = "| local minus | 20 |\n|---|---|\n| none, shuffled | +2.00 ± 1.00 |\n";
        assert_eq!(paired_markdown(&[result(), other.clone()]), expected);
        assert!(csv(&[other]).contains("cifar100,none shuffled,2,20,"));
    }

    #[test]
    fn the_picture_names_data_set_method_and_seeds() {
        let drawn = svg(&[result()]);
        for words in ["CIFAR-100", ">local<", "mean of 2 seeds", "optimum of the table"] {
            assert!(drawn.contains(words), "{words}");
        }
        assert_eq!(svg(&[]), "");
    }

    #[test]
    fn a_median_is_that_of_all_searches() {
        assert_eq!(median(&[Some(10), Some(40), Some(20), Some(30)]), Some(25.0));
        assert_eq!(median(&[Some(10), None, Some(20)]), Some(20.0));
        assert_eq!(
            (median(&[Some(10), None, None]), median(&[Some(10), None]), median(&[])),
            (None, None, None)
        );
    }
}
