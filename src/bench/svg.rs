//! Line charts with bands as self-contained SVG: curves in, text out, no script and no outside font.
//!
//! The x axis is logarithmic and starts at a tenth of the longest curve, but not after its tenth point; the y axis
//! holds the means from there on: the first random looks would else flatten all that matters.
//! Colours are those of Okabe and Ito, told apart under the common colour-vision deficiencies.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 56.0;
/// Points nearer than this to the last one drawn are left out, in pixels along x.
const FINEST_STEP: f64 = 0.7;
const COLOURS: [&str; 7] = ["#999999", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#0072b2", "#cc79a7"];

/// What to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above the plot.
    pub title: String,
    /// Below the x axis.
    pub x_label: String,
    /// Beside the y axis.
    pub y_label: String,
    /// Below the title, in small type.
    pub note: String,
    /// A dashed horizontal line: (name, y).
    pub reference: Option<(String, f64)>,
    /// The curves, in the order of the legend.
    pub lines: Vec<Line>,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// (x >= 1, y, half the height of the band), x ascending.
    pub points: Vec<(f64, f64, f64)>,
}

/// Maps data to the plane of the picture.
struct Frame {
    x_min: f64,
    x_max: f64,
    y_min: f64,
    y_max: f64,
}

impl Frame {
    fn around(chart: &Chart) -> Self {
        let ends = chart.lines.iter().filter_map(|line| line.points.last());
        let x_max = ends.map(|point| point.0).fold(2.0, f64::max);
        let x_min = (x_max / 10.0).clamp(1.0, 10.0);
        let seen = || chart.lines.iter().flat_map(|line| &line.points).filter(|point| point.0 >= x_min);
        let low = seen().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let reference = chart.reference.as_ref().map_or(f64::NEG_INFINITY, |(_, y)| *y);
        let high = seen().map(|point| point.1).fold(reference, f64::max);
        let (low, high) = if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
        let margin = ((high - low) * 0.06).max(1e-3);
        Self { x_min, x_max, y_min: low - margin, y_max: high + margin }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (value.max(1.0) / self.x_min).ln() / (self.x_max / self.x_min).ln()
    }

    /// Values outside the plot are drawn on its edge; the clip path hides what lies beyond.
    fn y(&self, value: f64) -> f64 {
        let share = (value - self.y_min) / (self.y_max - self.y_min);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share.clamp(-1.0, 2.0)
    }
}

impl Line {
    /// The points that can be told apart in the picture and are on it; the last one always.
    fn visible(&self, frame: &Frame) -> Vec<(f64, f64, f64)> {
        let mut kept: Vec<(f64, f64, f64)> = Vec::new();
        for (i, &point) in self.points.iter().enumerate() {
            let far = kept.last().is_none_or(|last| frame.x(point.0) - frame.x(last.0) >= FINEST_STEP);
            if point.0 >= frame.x_min && (far || i + 1 == self.points.len()) {
                kept.push(point);
            }
        }
        kept
    }
}

/// The chart as an SVG document.
pub fn draw(chart: &Chart) -> String {
    let frame = Frame::around(chart);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <clipPath id=\"plot\"><rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/></clipPath>\n",
        WIDTH - LEFT - RIGHT,
        HEIGHT - TOP - BOTTOM
    );
    text(&mut out, LEFT, 24.0, "start", 16, &chart.title);
    text(&mut out, LEFT, 43.0, "start", 11, &chart.note);
    axes(&mut out, chart, &frame);
    out += "<g clip-path=\"url(#plot)\">\n";
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        band(&mut out, line, colour, &frame);
    }
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<String> = line.visible(&frame).iter().map(|p| at(&frame, p.0, p.1)).collect();
        let points = points.join(" ");
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
    }
    out += "</g>\n";
    legend(&mut out, chart);
    out += "</svg>\n";
    out
}

fn at(frame: &Frame, x: f64, y: f64) -> String {
    format!("{:.1},{:.1}", frame.x(x), frame.y(y))
}

fn band(out: &mut String, line: &Line, colour: &str, frame: &Frame) {
    let points = line.visible(frame);
    let upper = points.iter().map(|p| at(frame, p.0, p.1 + p.2));
    let lower = points.iter().rev().map(|p| at(frame, p.0, p.1 - p.2));
    let points: Vec<String> = upper.chain(lower).collect();
    let points = points.join(" ");
    let _ = writeln!(out, "<polygon points=\"{points}\" fill=\"{colour}\" fill-opacity=\"0.13\"/>");
}

fn axes(out: &mut String, chart: &Chart, frame: &Frame) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in y_ticks(frame.y_min, frame.y_max) {
        let y = frame.y(tick.0);
        rule(out, [LEFT, y, right, y], "stroke=\"#e4e4e4\"");
        text(out, LEFT - 8.0, y + 4.0, "end", 12, &tick.1);
    }
    let decades = (0..9).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    for tick in decades.filter(|tick| (frame.x_min..=frame.x_max).contains(tick)) {
        let x = frame.x(tick);
        rule(out, [x, TOP, x, bottom], "stroke=\"#f0f0f0\"");
        text(out, x, bottom + 18.0, "middle", 12, &tick.to_string());
    }
    if let Some((name, value)) = &chart.reference {
        let y = frame.y(*value);
        rule(out, [LEFT, y, right, y], "stroke=\"#222222\" stroke-dasharray=\"5 4\"");
        text(out, LEFT + 6.0, y - 5.0, "start", 11, name);
    }
    rule(out, [LEFT, bottom, right, bottom], "stroke=\"#222222\"");
    rule(out, [LEFT, TOP, LEFT, bottom], "stroke=\"#222222\"");
    text(out, 0.5 * (LEFT + right), HEIGHT - 14.0, "middle", 12, &chart.x_label);
    let middle = 0.5 * (TOP + bottom);
    let _ = writeln!(
        out,
        "<text x=\"18\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\">{}</text>",
        escape(&chart.y_label)
    );
}

fn legend(out: &mut String, chart: &Chart) {
    let longest = chart.lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
    let width = 46.0 + 7.0 * longest as f64;
    let height = 12.0 + 18.0 * chart.lines.len() as f64;
    let (left, top) = (WIDTH - RIGHT - width - 10.0, HEIGHT - BOTTOM - height - 10.0);
    let _ = writeln!(
        out,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"#ffffff\" \
         fill-opacity=\"0.9\" stroke=\"#cccccc\"/>"
    );
    for (i, (line, colour)) in chart.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let y = top + 15.0 + 18.0 * i as f64;
        rule(out, [left + 8.0, y, left + 30.0, y], &format!("stroke=\"{colour}\" stroke-width=\"3\""));
        text(out, left + 37.0, y + 4.0, "start", 12, &line.name);
    }
}

/// (value, label) of about six round steps between `low` and `high`.
fn y_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|k| k as f64 * step).map(|value| (value, format!("{value:.decimals$}"))).collect()
}

fn rule(out: &mut String, [x1, y1, x2, y2]: [f64; 4], style: &str) {
    let _ = writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, size: u32, words: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
        escape(words)
    );
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use crate::bench::svg::{Chart, Line, draw, y_ticks};

    fn chart(lines: Vec<Line>) -> Chart {
        let text = |words: &str| words.to_owned();
        Chart {
            title: text("a < b"),
            x_label: text("x"),
            y_label: text("y"),
            note: text("note"),
            reference: Some((text("top"), 3.0)),
            lines,
        }
    }

    #[test]
    fn a_chart_has_a_line_a_band_and_a_legend_entry_per_curve() {
        let line = |name: &str| Line { name: name.into(), points: vec![(1.0, 1.0, 0.1), (10.0, 2.0, 0.2)] };
        let drawn = draw(&chart(vec![line("first"), line("second")]));
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert_eq!(drawn.matches("<polygon").count(), 2);
        for words in [">first<", ">second<", ">a &lt; b<", ">top<"] {
            assert!(drawn.contains(words), "{words}");
        }
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
    }

    #[test]
    fn a_chart_without_curves_is_still_a_picture() {
        let drawn = draw(&chart(Vec::new()));
        assert!(drawn.ends_with("</svg>\n") && !drawn.contains("NaN") && !drawn.contains("inf"));
    }

    #[test]
    fn ticks_are_round_and_inside_the_range() {
        let labels: Vec<String> = y_ticks(90.27, 91.7).into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["90.5", "91.0", "91.5"]);
    }
}
