//! Weights laid out for the kernels: ggml blocks in, panels of 16 rows in as many bits as the file has out.
//!
//! A panel's codes are lines of 64 bytes: one line is four columns of 16 rows, `[row][4]`, a byte per code; such a
//! line is a group. Types of fewer bits hold, block by block, the low four bits of two groups per line (the second
//! half of the block's groups in the high nibbles), then the bits above the fourth of all its groups in one line.
//! Scales and minima are `[block][row]`, halves as in the file, or bytes where blocks share a scale. A panel is one
//! piece of memory, scales first; where blocks share scales it is a row of such pieces ("units", 256 columns each). So
//! a product reads a matrix from its first byte to its last: from several places at once the processor's guesses fail,
//! and one row of a Q4_K matrix took twice as long. Nothing is rounded for the types that [`blocks`](super::blocks)
//! knows, and a matrix takes what it takes in the file. Limit: the file's own order of bytes cannot be used, so weights
//! are not mapped but copied.

use candle_core::Error;
use candle_core::quantized::GgmlDType;

use super::blocks::{Format, RowCodes, ScaleKind, row_bytes};
use super::halves::to_half;
use super::pages::Pages;
use super::unpack::{self, PanelScratch};
use super::{BLOCK, Isa, PANEL, SharedMut, Workers};

/// Bytes of a line: four columns of a panel.
pub(crate) const LINE: usize = 4 * PANEL;

/// How large the codes of a matrix can be; it decides how many products fit in 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Levels {
    /// At most 31.
    Five,
    /// At most 63.
    Six,
    /// At most 255.
    Eight,
}

/// A weight matrix (rows, cols).
pub(crate) struct PackedMatrix {
    rows: usize,
    cols: usize,
    format: Format,
    panels: Pages<u8>,
}

/// Sixteen rows of a matrix: `units` pieces of `unit_blocks` blocks each, which start `stride` bytes after one another.
pub(crate) struct Panel<'a> {
    pub(crate) block: usize,
    pub(crate) offset: i32,
    pub(crate) levels: Levels,
    /// Bits of a stored code: 4, 5, 6 or 8.
    pub(crate) bits: usize,
    pub(crate) units: usize,
    pub(crate) unit_blocks: usize,
    pub(crate) stride: usize,
    /// From the first unit's codes on.
    pub(crate) codes: &'a [u8],
    pub(crate) scales: Scales<'a>,
}

/// Scales of a panel, and minima where it has any.
#[derive(Clone, Copy)]
pub(crate) enum Scales<'a> {
    /// `[block][row]`
    Ready { scales: &'a [f32], mins: Option<&'a [f32]> },
    /// As stored, from the first unit's on: a unit has one half for each row, of two bytes, and a factor of it for each
    /// block and row.
    Shared { scales: SharedScales<'a>, mins: Option<SharedScales<'a>> },
}

/// Numbers that are factors of one that several blocks share.
#[derive(Clone, Copy)]
pub(crate) struct SharedScales<'a> {
    pub(crate) halves: &'a [u8],
    pub(crate) factors: &'a [u8],
}

/// Where the vector kernels read scales: `ready`, or `halves` and `factors`.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) ready: *const f32,
    pub(crate) halves: *const u8,
    pub(crate) factors: *const u8,
}

impl Panel<'_> {
    /// Whether scales are stored as factors.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.scales, Scales::Shared { .. })
    }

    /// Where scales are, and minima.
    pub(crate) fn sources(&self) -> (Source, Option<Source>) {
        let none = Source { ready: std::ptr::null(), halves: std::ptr::null(), factors: std::ptr::null() };
        let ready = |values: &[f32]| Source { ready: values.as_ptr(), ..none };
        let shared = |scales: SharedScales<'_>| Source {
            halves: scales.halves.as_ptr(),
            factors: scales.factors.as_ptr(),
            ..none
        };
        match self.scales {
            Scales::Ready { scales, mins } => (ready(scales), mins.map(ready)),
            Scales::Shared { scales, mins } => (shared(scales), mins.map(shared)),
        }
    }

    /// Bytes of a block's codes.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block / 8 * self.bits * PANEL
    }

    /// Whether everything that [`Panel`] promises lies within its slices.
    pub(crate) fn is_whole(&self) -> bool {
        let before = self.units.saturating_sub(1) * self.stride;
        let shared = |scales: &SharedScales<'_>| {
            scales.halves.len() >= before + PANEL * 2
                && scales.factors.len() >= before + self.unit_blocks * PANEL
        };
        self.codes.len() >= before + self.unit_blocks * self.block_bytes()
            && match &self.scales {
                Scales::Ready { scales, mins } => {
                    let count = self.units * self.unit_blocks * PANEL;
                    scales.len() >= count && mins.is_none_or(|mins| mins.len() >= count)
                }
                Scales::Shared { scales, mins } => shared(scales) && mins.as_ref().is_none_or(shared),
            }
    }
}

/// Bytes that each part of a unit takes, in the order in which they lie.
#[derive(Clone, Copy)]
struct UnitSizes {
    /// Scales in f32.
    single: usize,
    /// Of scales and minima: those in half precision.
    halves: [usize; 2],
    /// Of scales and minima: each block's factors of them.
    factors: [usize; 2],
    codes: usize,
}

impl UnitSizes {
    fn bytes(&self) -> usize {
        let scales = [self.single, self.halves[0], self.factors[0], self.halves[1], self.factors[1]];
        scales.iter().fold(self.codes, |sum, part| sum.saturating_add(*part))
    }

    /// What starts with each part of the first unit: single scales; halves and factors of the scales, and of the
    /// minima; codes.
    fn starts<'a>(&self, units: &'a [u8]) -> [&'a [u8]; 6] {
        let parts = [self.single, self.halves[0], self.factors[0], self.halves[1], self.factors[1]];
        let mut at = 0;
        let starts = parts.map(|part| {
            at += part;
            &units[at - part..]
        });
        let [single, halves, factors, min_halves, min_factors] = starts;
        [single, halves, factors, min_halves, min_factors, &units[at..]]
    }
}

impl Format {
    /// Bits of a stored code.
    fn bits(&self) -> usize {
        match self.largest {
            0..=15 => 4,
            16..=31 => 5,
            32..=63 => 6,
            _ => 8,
        }
    }

    fn levels(&self) -> Levels {
        match self.largest {
            0..=31 => Levels::Five,
            32..=63 => Levels::Six,
            _ => Levels::Eight,
        }
    }

    /// Columns of a unit of a matrix of `cols`, and how many units there are.
    fn units(&self, cols: usize) -> (usize, usize) {
        match self.scales {
            ScaleKind::Shared(together) => (together * self.block, cols / (together * self.block)),
            _ => (cols, 1),
        }
    }

    /// For `cols` columns (a multiple of 32); saturates where a hostile header would overflow.
    fn unit_sizes(&self, cols: usize) -> UnitSizes {
        let blocks = cols / self.block;
        let (single, halves, factors) = match self.scales {
            ScaleKind::Single => (blocks * size_of::<f32>(), 0, 0),
            ScaleKind::Half => (0, blocks * size_of::<u16>(), 0),
            ScaleKind::Shared(together) => (0, blocks / together * size_of::<u16>(), blocks),
        };
        let part = |bytes: usize, wanted: bool| if wanted { bytes.saturating_mul(PANEL) } else { 0 };
        UnitSizes {
            single: part(single, true),
            halves: [part(halves, true), part(halves, self.mins)],
            factors: [part(factors, true), part(factors, self.mins)],
            codes: part(cols / 8 * self.bits(), true),
        }
    }

    /// Bytes of a panel of `cols` columns.
    fn panel_bytes(&self, cols: usize) -> usize {
        let (columns, units) = self.units(cols);
        self.unit_sizes(columns).bytes().saturating_mul(units)
    }
}

impl PackedMatrix {
    /// Packs `rows` rows of `cols` values of type `dtype`.
    pub(crate) fn pack(
        workers: &Workers,
        dtype: GgmlDType,
        bytes: &[u8],
        rows: usize,
        cols: usize,
    ) -> Result<PackedMatrix, Error> {
        let row_bytes = row_bytes(dtype, cols)?;
        if bytes.len() != row_bytes * rows {
            let found = bytes.len();
            return Err(Error::Msg(format!("expected {} bytes of {dtype:?}, got {found}", row_bytes * rows)));
        }
        let format = Format::of(dtype);
        let padded = cols.next_multiple_of(BLOCK);
        let panels = rows.div_ceil(PANEL);
        let panel_bytes = format.panel_bytes(padded);
        let mut matrix =
            PackedMatrix { rows, cols: padded, format, panels: Pages::zeroed(panels * panel_bytes)? };
        let failure = std::sync::Mutex::new(None);
        let shared = SharedMut::new(&mut matrix.panels);
        workers.for_each(panels, |panel| {
            // SAFETY: each panel has its own part.
            let target = unsafe { shared.slice(panel * panel_bytes, panel_bytes) };
            let mut row = RowCodes::new(format, padded);
            for lane in 0..PANEL.min(rows - panel * PANEL) {
                let bytes = &bytes[(panel * PANEL + lane) * row_bytes..][..row_bytes];
                if let Err(error) = row.decode(dtype, bytes, cols) {
                    *failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    return;
                }
                write_row(format, lane, &row, target);
            }
        });
        match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(matrix),
        }
    }

    /// Memory that a matrix of this type and shape takes once packed.
    pub(crate) fn bytes_for(dtype: GgmlDType, rows: usize, cols: usize) -> usize {
        let padded = cols.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
        Format::of(dtype).panel_bytes(padded).saturating_mul(rows.div_ceil(PANEL))
    }

    /// Output width.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Inner width, padded to whole blocks of 32.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.len()
    }

    /// Panel `index`; `expand` asks for its codes as bytes (for AMX as signed ones, less their offset), with scales as
    /// f32.
    pub(crate) fn panel<'a>(
        &'a self,
        isa: Isa,
        index: usize,
        expand: bool,
        scratch: &'a mut PanelScratch,
    ) -> Panel<'a> {
        let PanelScratch { codes: bytes, scales: [scales, mins] } = scratch;
        let (columns, mut units) = self.format.units(self.cols);
        let sizes = self.format.unit_sizes(columns);
        let panel_bytes = units * sizes.bytes();
        let all = &self.panels[index * panel_bytes..(index + 1) * panel_bytes];
        let [single, halves, factors, min_halves, min_factors, mut codes] = sizes.starts(all);
        let (mut bits, mut stride) = (self.format.bits(), sizes.bytes());
        let Format { block, mut offset, .. } = self.format;
        let mut unit_blocks = columns / self.format.block;
        let shared = |halves, factors| SharedScales { halves, factors };
        let scales = if matches!(self.format.scales, ScaleKind::Shared(_)) && !expand {
            let mins = self.format.mins.then(|| shared(min_halves, min_factors));
            Scales::Shared { scales: shared(halves, factors), mins }
        } else {
            let count = unit_blocks * PANEL;
            scales.resize(units * count);
            mins.resize(if self.format.mins { units * count } else { 0 });
            let decode = |halves: &[u8], factors: &[u8], unit: usize, out: &mut [f32]| {
                let (from, out) = (unit * stride, &mut out[unit * count..(unit + 1) * count]);
                match self.format.scales {
                    ScaleKind::Single => unpack::singles_of(isa, single, out),
                    ScaleKind::Half => unpack::halves_of(isa, halves, out),
                    ScaleKind::Shared(_) => unpack::scales_of(isa, &halves[from..], &factors[from..], out),
                }
            };
            // Tiles multiply signed bytes.
            let signed = isa == Isa::Amx;
            let widen = expand && (signed || bits != 8);
            let zero = if widen && signed { self.format.offset as u8 } else { 0 };
            bytes.resize(if widen { self.cols * PANEL } else { 0 });
            // Unit by unit, as they lie in memory.
            for unit in 0..units {
                decode(halves, factors, unit, scales);
                if self.format.mins {
                    decode(min_halves, min_factors, unit, mins);
                }
                if widen {
                    let out = &mut bytes[unit * columns * PANEL..(unit + 1) * columns * PANEL];
                    unpack::bytes_of(isa, &codes[unit * stride..][..sizes.codes], bits, zero, out);
                }
            }
            if widen {
                (codes, bits) = (bytes, 8);
                (units, unit_blocks, stride) = (1, units * unit_blocks, self.cols * PANEL);
            }
            offset -= i32::from(zero);
            Scales::Ready { scales, mins: self.format.mins.then_some(mins) }
        };
        Panel { block, offset, levels: self.format.levels(), bits, units, unit_blocks, stride, codes, scales }
    }
}

/// Writes a row into its lane of a panel of zeros.
fn write_row(format: Format, lane: usize, row: &RowCodes, panel: &mut [u8]) {
    let (columns, _) = format.units(row.codes.len());
    let (sizes, blocks) = (format.unit_sizes(columns), columns / format.block);
    for (unit, target) in panel.chunks_exact_mut(sizes.bytes()).enumerate() {
        let (single, rest) = target.split_at_mut(sizes.single);
        let (halves, rest) = rest.split_at_mut(sizes.halves[0]);
        let (factors, rest) = rest.split_at_mut(sizes.factors[0]);
        let (min_halves, rest) = rest.split_at_mut(sizes.halves[1]);
        let (min_factors, codes) = rest.split_at_mut(sizes.factors[1]);
        let own = unit * blocks..(unit + 1) * blocks;
        write_codes(format, lane, &row.codes[unit * columns..(unit + 1) * columns], codes);
        match format.scales {
            ScaleKind::Single => {
                let places = single.as_chunks_mut::<4>().0.iter_mut().skip(lane).step_by(PANEL);
                places.zip(&row.scales).for_each(|(out, value)| *out = value.to_le_bytes());
            }
            ScaleKind::Half => {
                write_halves(lane, &row.scales, halves);
                write_halves(lane, &row.mins, min_halves);
            }
            ScaleKind::Shared(_) => {
                let [scale, min] = row.shared[unit];
                write_halves(lane, &[scale], halves);
                write_halves(lane, &[min], min_halves);
                for (which, out) in [factors, min_factors].into_iter().enumerate() {
                    let places = out.iter_mut().skip(lane).step_by(PANEL);
                    places.zip(&row.factors[own.clone()]).for_each(|(out, pair)| *out = pair[which]);
                }
            }
        }
    }
}

fn write_codes(format: Format, lane: usize, codes: &[u8], out: &mut [u8]) {
    let (groups, bits) = (format.block / 4, format.bits());
    for (block, codes) in codes.chunks_exact(format.block).enumerate() {
        let lines = &mut out[block * format.block / 8 * bits * PANEL..];
        for (i, code) in codes.iter().enumerate() {
            let (group, at) = (i / 4, lane * 4 + i % 4);
            if bits == 8 {
                lines[group * LINE + at] = *code;
                continue;
            }
            let nibbles = &mut lines[group % (groups / 2) * LINE + at];
            *nibbles |= (code & 15) << (group / (groups / 2) * 4);
            if bits > 4 {
                lines[groups / 2 * LINE + at] |= code >> 4 << (group * (bits - 4));
            }
        }
    }
}

fn write_halves(lane: usize, values: &[f32], out: &mut [u8]) {
    let places = out.as_chunks_mut::<2>().0.iter_mut().skip(lane).step_by(PANEL);
    places.zip(values).for_each(|(out, value)| *out = to_half(*value).to_le_bytes());
}
