//! The table of trained cells: CSV file to accuracies, parameters and multiply-adds of every cell.
//!
//! The columns are those that `scripts/nasbench201_to_csv.py` writes, all 15,625 rows are required, and a cell's row
//! is found by its string. Accuracies are top-1 in per cent after 200 (and 12) epochs, means over the runs there
//! are. Limit: a plain CSV without quotes, as none of its fields needs them.

use std::path::Path;

use crate::bench::nasbench201::{CELLS, Cell};

/// The header line, column by column.
pub const COLUMNS: [&str; 27] = [
    "index",
    "arch",
    "code",
    "n_runs_val",
    "n_runs_test",
    "c10_val200_pct",
    "c10_test200_pct",
    "c100_val200_pct",
    "c100_test200_pct",
    "in16_val200_pct",
    "in16_test200_pct",
    "c10_test200_run1_pct",
    "c10_test200_run2_pct",
    "c10_test200_run3_pct",
    "c10v_test200_single_pct",
    "c10_val12_pct",
    "c10_test12_pct",
    "c100_val12_pct",
    "c100_test12_pct",
    "in16_val12_pct",
    "in16_test12_pct",
    "c10_params",
    "c100_params",
    "in16_params",
    "c10_mflops",
    "c100_mflops",
    "in16_mflops",
];

const FIRST_200_EPOCHS: usize = 5;
const FIRST_12_EPOCHS: usize = 15;
const FIRST_PARAMETERS: usize = 21;
const FIRST_MFLOPS: usize = 24;

/// One of the three data sets on which every cell was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataSet {
    /// CIFAR-10; validation is half of the training images.
    Cifar10,
    /// CIFAR-100; validation is half of the test images.
    Cifar100,
    /// ImageNet at 16x16 pixels, 120 classes; validation is half of the test images.
    ImageNet16,
}

impl DataSet {
    /// All, in the order of the columns.
    pub const ALL: [Self; 3] = [Self::Cifar10, Self::Cifar100, Self::ImageNet16];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        ["cifar10", "cifar100", "imagenet16-120"][self as usize]
    }

    /// The name in titles.
    pub fn title(self) -> &'static str {
        ["CIFAR-10", "CIFAR-100", "ImageNet16-120"][self as usize]
    }

    /// Number of classes.
    pub fn classes(self) -> usize {
        [10, 100, 120][self as usize]
    }

    /// Side of the square images in pixels.
    pub fn side(self) -> usize {
        [32, 32, 16][self as usize]
    }
}

impl std::str::FromStr for DataSet {
    type Err = TableError;

    fn from_str(text: &str) -> Result<Self, TableError> {
        let found = Self::ALL.into_iter().find(|dataset| dataset.name() == text);
        found.ok_or_else(|| TableError::UnknownDataSet {
            expected: Self::ALL.map(Self::name).join(", "),
            got: text.to_owned(),
        })
    }
}

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}; give the CSV of NAS-Bench-201 with --table")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A field, the header's included, is not what it must be.
    #[error("{file}: line {line}, column {column}: expected {expected}, got `{got}`")]
    Field {
        /// The file.
        file: String,
        /// 1-based line.
        line: usize,
        /// Name of the column.
        column: &'static str,
        /// What the column holds.
        expected: String,
        /// The field.
        got: String,
    },
    /// A line with too few or too many fields.
    #[error("{file}: line {line}: expected {} columns ({} to {}), got {got}", COLUMNS.len(), COLUMNS[0], COLUMNS[26])]
    Width {
        /// The file.
        file: String,
        /// 1-based line.
        line: usize,
        /// Fields found.
        got: usize,
    },
    /// The file ends early.
    #[error(
        "{file}: line {line}: expected {CELLS} cells below the header, got {got}; the table is incomplete, make it \
         again with scripts/nasbench201_to_csv.py"
    )]
    Incomplete {
        /// The file.
        file: String,
        /// The last line.
        line: usize,
        /// Cells found.
        got: usize,
    },
    /// No data set has this name.
    #[error("--dataset: expected one of {expected}, got `{got}`")]
    UnknownDataSet {
        /// The names there are.
        expected: String,
        /// The name given.
        got: String,
    },
}

/// What the table says of one cell, by data set in the order of [`DataSet::ALL`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// The benchmark's own number of the cell.
    pub index: usize,
    /// Validation accuracy after 200 epochs, per cent.
    pub validation: [f64; 3],
    /// Test accuracy after 200 epochs, per cent.
    pub test: [f64; 3],
    /// Validation accuracy after a separate training of 12 epochs, per cent.
    pub validation_12: [f64; 3],
    /// Number of parameters.
    pub parameters: [u64; 3],
    /// Multiply-adds in millions, with the bias of the linear layer counted.
    pub mflops: [f64; 3],
}

/// The whole table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// By [`Cell::number`].
    records: Vec<Record>,
}

impl Table {
    /// Reads the CSV at `path`.
    ///
    /// # Errors
    /// [`TableError`] with file, line and column.
    pub fn load(path: &Path) -> Result<Self, TableError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| TableError::Unreadable { file: file.clone(), source })?;
        Self::parse(&text, &file)
    }

    /// Reads CSV text; `file` is its name in errors.
    ///
    /// # Errors
    /// [`TableError`] with file, line and column.
    pub fn parse(text: &str, file: &str) -> Result<Self, TableError> {
        let mut lines = (1..).zip(text.lines());
        check_header(lines.next().map_or("", |(_, header)| header), file)?;
        let mut records: Vec<Option<Record>> = vec![None; CELLS];
        let (mut found, mut last) = (0, 1);
        for (line, text) in lines {
            last = line;
            let row = Row::split(text, file, line)?;
            let cell = row.cell()?;
            let slot = &mut records[cell.number()];
            if slot.is_some() {
                return Err(row.wrong(1, "a cell that no earlier line has"));
            }
            *slot = Some(row.record(found)?);
            found += 1;
        }
        let complete: Option<Vec<Record>> = records.into_iter().collect();
        complete.map(|records| Self { records }).ok_or(TableError::Incomplete {
            file: file.to_owned(),
            line: last,
            got: found,
        })
    }

    /// What the table says of `cell`.
    pub fn record(&self, cell: Cell) -> &Record {
        &self.records[cell.number()]
    }

    /// The cell with the best validation accuracy on `dataset` (of equal ones that with the lowest code).
    pub fn best(&self, dataset: DataSet) -> Cell {
        let accuracy = |number: usize| self.records[number].validation[dataset as usize];
        let best =
            (1..CELLS).fold(0, |best, number| if accuracy(number) > accuracy(best) { number } else { best });
        Cell::from_number(best)
    }
}

fn check_header(header: &str, file: &str) -> Result<(), TableError> {
    let names: Vec<&str> = header.trim_start_matches('\u{feff}').trim_end().split(',').collect();
    for (i, &column) in COLUMNS.iter().enumerate() {
        let got = names.get(i).copied().unwrap_or("");
        if got != column {
            let (file, got) = (file.to_owned(), got.to_owned());
            let expected = format!("the header `{column}` at place {} of {}", i + 1, COLUMNS.len());
            return Err(TableError::Field { file, line: 1, column, expected, got });
        }
    }
    if names.len() > COLUMNS.len() {
        return Err(TableError::Width { file: file.to_owned(), line: 1, got: names.len() });
    }
    Ok(())
}

/// One line below the header, with what errors need.
struct Row<'a> {
    fields: Vec<&'a str>,
    file: &'a str,
    line: usize,
}

impl<'a> Row<'a> {
    fn split(text: &'a str, file: &'a str, line: usize) -> Result<Self, TableError> {
        let fields: Vec<&str> = text.split(',').collect();
        if fields.len() != COLUMNS.len() {
            return Err(TableError::Width { file: file.to_owned(), line, got: fields.len() });
        }
        Ok(Self { fields, file, line })
    }

    fn wrong(&self, column: usize, expected: &str) -> TableError {
        TableError::Field {
            file: self.file.to_owned(),
            line: self.line,
            column: COLUMNS[column],
            expected: expected.to_owned(),
            got: self.fields[column].to_owned(),
        }
    }

    fn cell(&self) -> Result<Cell, TableError> {
        let cell: Cell = self.fields[1].parse().map_err(|e: super::CellError| TableError::Field {
            file: self.file.to_owned(),
            line: self.line,
            column: COLUMNS[1],
            expected: e.expected,
            got: e.got,
        })?;
        if self.fields[2] != cell.code() {
            return Err(self.wrong(2, &format!("{}, the code of the column arch", cell.code())));
        }
        Ok(cell)
    }

    /// The numbers of the row, which is the `place`-th below the header, from 0.
    fn record(&self, place: usize) -> Result<Record, TableError> {
        if self.fields[0] != place.to_string() {
            return Err(self.wrong(0, &format!("{place}, rows being sorted by index")));
        }
        for column in [3, 4] {
            let runs = self.fields[column].parse::<u32>().ok().filter(|runs| *runs >= 1);
            runs.ok_or_else(|| self.wrong(column, "a number of runs, 1 or more"))?;
        }
        let mut record = Record {
            index: place,
            validation: [0.0; 3],
            test: [0.0; 3],
            validation_12: [0.0; 3],
            parameters: [0; 3],
            mflops: [0.0; 3],
        };
        for dataset in 0..3 {
            record.validation[dataset] = self.accuracy(FIRST_200_EPOCHS + 2 * dataset)?;
            record.test[dataset] = self.accuracy(FIRST_200_EPOCHS + 2 * dataset + 1)?;
            record.validation_12[dataset] = self.accuracy(FIRST_12_EPOCHS + 2 * dataset)?;
            self.accuracy(FIRST_12_EPOCHS + 2 * dataset + 1)?;
            let column = FIRST_PARAMETERS + dataset;
            let parameters = self.fields[column].parse().ok().filter(|p| *p > 0);
            record.parameters[dataset] =
                parameters.ok_or_else(|| self.wrong(column, "a whole number of parameters"))?;
            let column = FIRST_MFLOPS + dataset;
            let mflops = self.fields[column].parse().ok().filter(|m: &f64| m.is_finite() && *m > 0.0);
            record.mflops[dataset] = mflops.ok_or_else(|| self.wrong(column, "multiply-adds in millions"))?;
        }
        Ok(record)
    }

    fn accuracy(&self, column: usize) -> Result<f64, TableError> {
        let number: Option<f64> = self.fields[column].parse().ok();
        let accuracy = number.filter(|accuracy| (0.0..=100.0).contains(accuracy));
        accuracy.ok_or_else(|| self.wrong(column, "an accuracy in per cent, 0 to 100"))
    }
}
