//! Settings to a table and to JSON.
//!
//! The rates' intervals are Wilson's at 95 %. Limit: tokens and seconds per valid-novel network are of the texts with
//! repairs, as a search takes them.

use super::{Counts, Setting};

/// 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959964;

/// A Markdown table, one row per setting.
pub fn markdown(settings: &[Setting]) -> String {
    let mut text = String::from(
        "| style | temperature | asked | valid | valid-novel | with repair: valid | valid-novel (95 %) | given up \
         | tokens saved | tokens/network | seconds/network |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in settings {
        let percent = |count: usize| format!("{:.0} %", 100.0 * count as f64 / row.asked.max(1) as f64);
        let each = |total: f64, digits: usize| match row.repaired.novel {
            0 => "-".to_owned(),
            novel => format!("{:.digits$}", total / novel as f64),
        };
        let (low, high) = wilson(row.repaired.novel, row.asked);
        let cells = [
            row.style.clone(),
            format!("{}", row.temperature),
            row.asked.to_string(),
            percent(row.plain.valid),
            percent(row.plain.novel),
            percent(row.repaired.valid),
            format!("{} ({:.0}-{:.0})", percent(row.repaired.novel), 100.0 * low, 100.0 * high),
            row.given_up.to_string(),
            row.saved_tokens.to_string(),
            each(row.tokens as f64, 0),
            each(row.seconds, 1),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// One JSON object: the model, the seed, the settings and the rates that the table shows.
pub fn json(model: &str, seed: u64, grammar: bool, settings: &[Setting]) -> serde_json::Value {
    let rates = |row: &Setting, counts: &Counts| counts.novel as f64 / row.asked.max(1) as f64;
    let rows: Vec<serde_json::Value> = settings
        .iter()
        .map(|row| {
            let novel = row.repaired.novel;
            let each = |total: f64| (novel > 0).then(|| total / novel as f64);
            serde_json::json!({
                "setting": row,
                "novel_rate": rates(row, &row.plain),
                "novel_rate_repaired": rates(row, &row.repaired),
                "tokens_per_network": each(row.tokens as f64),
                "seconds_per_network": each(row.seconds),
            })
        })
        .collect();
    serde_json::json!({ "model": model, "seed": seed, "grammar": grammar, "settings": rows })
}

/// Wilson's interval of a share.
fn wilson(hits: usize, of: usize) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (of as f64, hits as f64 / of as f64);
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::wilson;

    #[test]
    fn intervals_hold_the_share_and_narrow_with_the_number() {
        let (low, high) = wilson(30, 60);
        assert!((low - 0.3775).abs() < 1e-3 && (high - 0.6225).abs() < 1e-3, "{low} {high}");
        assert_eq!(wilson(0, 60).0, 0.0);
        assert!(wilson(60, 60).1 > 0.999 && wilson(60, 60).0 > 0.9);
    }
}
