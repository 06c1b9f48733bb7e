//! The line of a written network that says its sizes, such as `# Input (N, 1, 28, 28), output (N, 10).`
//!
//! Input: sizes of one sample and the number of classes, or a source; output: the line, or the sizes that it says.
//! Limit: the first such line counts.

const START: &str = "# Input (N, ";
const MIDDLE: &str = "), output (N, ";

/// The line for sizes of one sample and a number of classes, without its end.
pub(super) fn sizes_line(input_sizes: &[usize], classes: usize) -> String {
    let sizes: Vec<String> = input_sizes.iter().map(ToString::to_string).collect();
    format!("{START}{}{MIDDLE}{classes}).", sizes.join(", "))
}

/// The sizes of one sample and the number of classes that such a line of a source says.
pub fn sizes_told(source: &str) -> Option<(Vec<usize>, usize)> {
    source.lines().find_map(|line| {
        let (sizes, rest) = line.strip_prefix(START)?.split_once(MIDDLE)?;
        let sizes: Result<Vec<usize>, _> = sizes.split(", ").map(str::parse).collect();
        let (classes, _) = rest.split_once(')')?;
        Some((sizes.ok()?, classes.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::{sizes_line, sizes_told};

    #[test]
    fn a_written_line_is_read_back_and_others_say_nothing() {
        let line = sizes_line(&[1, 28, 28], 10);
        assert_eq!(line, "# Input (N, 1, 28, 28), output (N, 10).");
        let source = format!("# Found by chance.\n{line} Pixels in [0, 1].\nimport torch\n");
        assert_eq!(sizes_told(&source), Some((vec![1, 28, 28], 10)));
        for other in
            ["", "# Input (N, x), output (N, 10).", "# Input (N, 1), output (N, 10", "# Input (N, 1)"]
        {
            assert_eq!(sizes_told(other), None, "{other}");
        }
    }
}
