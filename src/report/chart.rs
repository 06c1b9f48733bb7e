//! Numbers to SVG: the archive's heat-map and a line chart, without a script or a font from elsewhere.
//!
//! One limit: charts have a fixed size and scale with the page.

use std::fmt::Write as _;

use super::escape;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 14.0;

/// Dark blue, teal, green, yellow: readable for most eyes and in grey.
const STOPS: [[f64; 3]; 5] =
    [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];

/// A niche of the heat-map.
#[derive(Debug)]
pub(super) struct Niche {
    /// Its polygon in the unit square.
    pub(super) polygon: Vec<[f64; 2]>,
    /// Its elite's fitness.
    pub(super) fitness: Option<f64>,
    /// What is said when the pointer rests on it.
    pub(super) title: String,
}

/// A line of a chart: (x, y) points with y in [0, 1].
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// The colour of `value` between `low` and `high`.
pub(super) fn colour(value: f64, low: f64, high: f64) -> String {
    let place = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
    let at = place * (STOPS.len() - 1) as f64;
    let index = (at as usize).min(STOPS.len() - 2);
    let share = at - index as f64;
    let mix = |channel: usize| {
        let (a, b) = (STOPS[index][channel], STOPS[index + 1][channel]);
        (a + share * (b - a)).round()
    };
    format!("rgb({},{},{})", mix(0), mix(1), mix(2))
}

/// The archive: niches as polygons, coloured by fitness; `axes` are (name, value at 0, value at 1).
pub(super) fn heat_map(niches: &[Niche], axes: [(&str, f64, f64); 2]) -> String {
    let fitness: Vec<f64> = niches.iter().filter_map(|niche| niche.fitness).collect();
    let low = fitness.iter().copied().fold(f64::INFINITY, f64::min);
    let high = fitness.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut svg = open("Archive: niches over the two descriptors");
    for niche in niches {
        let points: Vec<String> = niche
            .polygon
            .iter()
            .map(|point| format!("{:.1},{:.1}", x_of(point[0]), y_of(point[1])))
            .collect();
        let (class, fill) = match niche.fitness {
            Some(fitness) => ("full", format!(" style=\"fill:{}\"", colour(fitness, low, high))),
            None => ("empty", String::new()),
        };
        let _ = write!(
            svg,
            "<polygon class=\"niche {class}\"{fill} points=\"{}\"><title>{}</title></polygon>",
            points.join(" "),
            escape(&niche.title)
        );
    }
    ticks(&mut svg, axes, [4, 4]);
    svg.push_str("</svg>");
    if !fitness.is_empty() {
        let stops: Vec<String> = (0..=4).map(|i| colour(f64::from(i), 0.0, 4.0)).collect();
        let _ = write!(
            svg,
            "<p class=\"scale\"><span>{low:.3}</span><i style=\"background:linear-gradient(90deg,{})\"></i><span>{high:.3}</span> \
             validation accuracy</p>",
            stops.join(",")
        );
    }
    svg
}

/// Lines over whole numbers `0..=last`.
pub(super) fn lines(lines: &[Line], last: f64, x_name: &str, title: &str) -> String {
    let mut svg = open(title);
    for line in lines {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", x_of(x / last.max(1.0)), y_of(y.clamp(0.0, 1.0))))
            .collect();
        let _ = write!(svg, "<polyline class=\"line {}\" points=\"{}\"/>", line.class, points.join(" "));
        if let [point] = points.as_slice()
            && let Some((x, y)) = point.split_once(',')
        {
            let _ = write!(svg, "<circle class=\"dot {}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>", line.class);
        }
    }
    // Whole numbers along x: as many steps as divide the range, at most ten.
    let steps = (1..=10).rev().find(|steps| (last.max(1.0) as u64).is_multiple_of(*steps)).unwrap_or(1);
    ticks(&mut svg, [(x_name, 0.0, last.max(1.0)), ("", 0.0, 1.0)], [steps as u32, 5]);
    svg.push_str("</svg><p class=\"legend\">");
    for line in lines {
        let _ = write!(svg, "<span class=\"key {}\"></span>{} ", line.class, escape(line.name));
    }
    svg.push_str("</p>");
    svg
}

fn open(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"plot\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/>",
        escape(title),
        WIDTH - LEFT - RIGHT,
        HEIGHT - TOP - BOTTOM
    )
}

fn ticks(svg: &mut String, axes: [(&str, f64, f64); 2], counts: [u32; 2]) {
    for (axis, (name, low, high)) in axes.into_iter().enumerate() {
        let count = counts[axis];
        for tick in 0..=count {
            let place = f64::from(tick) / f64::from(count);
            let value = number(low + place * (high - low));
            let (x, y, anchor) = if axis == 0 {
                (x_of(place), HEIGHT - BOTTOM + 16.0, "middle")
            } else {
                (LEFT - 8.0, y_of(place) + 4.0, "end")
            };
            let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{value}</text>");
        }
        let (x, y) = (f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 6.0);
        let turned = format!(" transform=\"rotate(-90 14 {0})\"", HEIGHT / 2.0);
        let (x, y, turn) = if axis == 0 { (x, y, "") } else { (14.0, HEIGHT / 2.0, turned.as_str()) };
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\"{turn}>{}</text>",
            escape(name)
        );
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn x_of(place: f64) -> f64 {
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

fn y_of(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_run_from_the_first_stop_to_the_last() {
        assert_eq!(colour(0.0, 0.0, 1.0), "rgb(68,1,84)");
        assert_eq!(colour(1.0, 0.0, 1.0), "rgb(253,231,37)");
        assert_eq!(colour(0.5, 0.5, 0.5), "rgb(253,231,37)", "a single value is the best one");
    }
}
