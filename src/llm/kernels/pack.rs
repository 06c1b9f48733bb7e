//! Weights laid out for the kernels: ggml blocks in, panels of 16 rows in as many bits as the file has out.
//!
//! A panel's codes are lines of 64 bytes: one line is four columns of 16 rows, `[row][4]`, a byte per code; such a
//! line is a group. Types of fewer bits hold, block by block, the low four bits of two groups per line (the second
//! half of the block's groups in the high nibbles), then the bits above the fourth of all its groups in one line.
//! Scales and minima are `[block][row]`, halves as in the file, or bytes where blocks share a scale. Each panel is one
//! piece of memory, scales first, so that a product reads a matrix in one go: in arrays of their own each panel's few
//! scales came late, and a row of a Q4_K matrix took 1.7 times as long. Nothing is rounded for the types that
//! [`blocks`](super::blocks) knows, and a matrix takes what it takes in the file. Limit: the file's own order of bytes
//! cannot be used, so weights are not mapped but copied.

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

/// Sixteen rows of a matrix.
pub(crate) struct Panel<'a> {
    pub(crate) block: usize,
    pub(crate) offset: i32,
    pub(crate) levels: Levels,
    /// Bits of a stored code: 4, 5, 6 or 8.
    pub(crate) bits: usize,
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [f32],
    pub(crate) mins: Option<&'a [f32]>,
}

/// Bytes that each part of a panel takes, in the order in which they lie.
#[derive(Clone, Copy)]
struct PanelSizes {
    /// Scales in f32.
    single: usize,
    /// Of scales and minima: those in half precision.
    halves: [usize; 2],
    /// Of scales and minima: each block's factors of them.
    factors: [usize; 2],
    codes: usize,
}

impl PanelSizes {
    fn bytes(&self) -> usize {
        let scales = [self.single, self.halves[0], self.factors[0], self.halves[1], self.factors[1]];
        scales.iter().fold(self.codes, |sum, part| sum.saturating_add(*part))
    }

    /// The parts of a panel: single scales; halves and factors of the scales, and of the minima; codes.
    fn cut<'a>(&self, panel: &'a [u8]) -> [&'a [u8]; 6] {
        let (single, rest) = panel.split_at(self.single);
        let (halves, rest) = rest.split_at(self.halves[0]);
        let (factors, rest) = rest.split_at(self.factors[0]);
        let (min_halves, rest) = rest.split_at(self.halves[1]);
        let (min_factors, codes) = rest.split_at(self.factors[1]);
        [single, halves, factors, min_halves, min_factors, codes]
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

    /// For `cols` columns (a multiple of 32); saturates where a hostile header would overflow.
    fn panel_sizes(&self, cols: usize) -> PanelSizes {
        let blocks = cols / self.block;
        let (single, halves, factors) = match self.scales {
            ScaleKind::Single => (blocks * size_of::<f32>(), 0, 0),
            ScaleKind::Half => (0, blocks * size_of::<u16>(), 0),
            ScaleKind::Shared(together) => (0, blocks / together * size_of::<u16>(), blocks),
        };
        let part = |bytes: usize, wanted: bool| if wanted { bytes.saturating_mul(PANEL) } else { 0 };
        PanelSizes {
            single: part(single, true),
            halves: [part(halves, true), part(halves, self.mins)],
            factors: [part(factors, true), part(factors, self.mins)],
            codes: part(cols / 8 * self.bits(), true),
        }
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
        let sizes = format.panel_sizes(padded);
        let mut matrix =
            PackedMatrix { rows, cols: padded, format, panels: Pages::zeroed(panels * sizes.bytes())? };
        let failure = std::sync::Mutex::new(None);
        let shared = SharedMut::new(&mut matrix.panels);
        workers.for_each(panels, |panel| {
            // SAFETY: each panel has its own part.
            let bytes_of_panel = unsafe { shared.slice(panel * sizes.bytes(), sizes.bytes()) };
            let mut target = PanelMut::cut(sizes, bytes_of_panel);
            let mut row = RowCodes::new(format, padded);
            for lane in 0..PANEL.min(rows - panel * PANEL) {
                let bytes = &bytes[(panel * PANEL + lane) * row_bytes..][..row_bytes];
                if let Err(error) = row.decode(dtype, bytes, cols) {
                    *failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    return;
                }
                target.write_codes(format, lane, &row.codes);
                target.write_scales(format, lane, &row);
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
        Format::of(dtype).panel_sizes(padded).bytes().saturating_mul(rows.div_ceil(PANEL))
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

    /// Panel `index`: its scales as f32, and where `expand` asks for it, its codes as bytes.
    pub(crate) fn panel<'a>(
        &'a self,
        isa: Isa,
        index: usize,
        expand: bool,
        scratch: &'a mut PanelScratch,
    ) -> Panel<'a> {
        let sizes = self.format.panel_sizes(self.cols);
        let PanelScratch { codes: bytes, scales: [scales, mins] } = scratch;
        let panel = &self.panels[index * sizes.bytes()..(index + 1) * sizes.bytes()];
        let [single, halves, factors, min_halves, min_factors, mut codes] = sizes.cut(panel);
        let blocks = self.cols / self.format.block;
        let decode = |halves: &[u8], factors: &[u8], out: &mut Vec<f32>| {
            out.resize(blocks * PANEL, 0.0);
            match self.format.scales {
                ScaleKind::Single => unpack::singles_of(isa, single, out),
                ScaleKind::Half => unpack::halves_of(isa, halves, out),
                ScaleKind::Shared(together) => unpack::scales_of(isa, halves, factors, together, out),
            }
        };
        decode(halves, factors, scales);
        if self.format.mins {
            decode(min_halves, min_factors, mins);
        }
        let mins = self.format.mins.then_some(&mins[..]);
        let mut bits = self.format.bits();
        if expand && bits != 8 {
            bytes.resize(self.cols * PANEL, 0);
            unpack::bytes_of(isa, codes, bits, bytes);
            (codes, bits) = (bytes, 8);
        }
        Panel {
            block: self.format.block,
            offset: self.format.offset,
            levels: self.format.levels(),
            bits,
            codes,
            scales,
            mins,
        }
    }
}

/// A panel being written.
struct PanelMut<'a> {
    single: &'a mut [u8],
    /// Of scales and minima.
    halves: [&'a mut [u8]; 2],
    factors: [&'a mut [u8]; 2],
    codes: &'a mut [u8],
}

impl<'a> PanelMut<'a> {
    fn cut(sizes: PanelSizes, panel: &'a mut [u8]) -> PanelMut<'a> {
        let (single, rest) = panel.split_at_mut(sizes.single);
        let (halves, rest) = rest.split_at_mut(sizes.halves[0]);
        let (factors, rest) = rest.split_at_mut(sizes.factors[0]);
        let (min_halves, rest) = rest.split_at_mut(sizes.halves[1]);
        let (min_factors, codes) = rest.split_at_mut(sizes.factors[1]);
        PanelMut { single, halves: [halves, min_halves], factors: [factors, min_factors], codes }
    }
}

impl PanelMut<'_> {
    /// Writes one row's codes into a panel of zeros.
    fn write_codes(&mut self, format: Format, lane: usize, codes: &[u8]) {
        let (groups, bits) = (format.block / 4, format.bits());
        for (block, codes) in codes.chunks_exact(format.block).enumerate() {
            let lines = &mut self.codes[block * format.block / 8 * bits * PANEL..];
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

    fn write_scales(&mut self, format: Format, lane: usize, row: &RowCodes) {
        let halves = |values: &mut dyn Iterator<Item = f32>, out: &mut [u8]| {
            let places = out.as_chunks_mut::<2>().0.iter_mut().skip(lane).step_by(PANEL);
            places.zip(values).for_each(|(out, value)| *out = to_half(value).to_le_bytes());
        };
        let [scales, mins] = &mut self.halves;
        match format.scales {
            ScaleKind::Single => {
                let places = self.single.as_chunks_mut::<4>().0.iter_mut().skip(lane).step_by(PANEL);
                places.zip(&row.scales).for_each(|(out, value)| *out = value.to_le_bytes());
            }
            ScaleKind::Half => {
                halves(&mut row.scales.iter().copied(), scales);
                halves(&mut row.mins.iter().copied(), mins);
            }
            ScaleKind::Shared(_) => {
                for (which, out) in [scales, mins].into_iter().enumerate() {
                    halves(&mut row.shared.iter().map(|pair| pair[which]), out);
                    let factors = self.factors[which].iter_mut().skip(lane).step_by(PANEL);
                    factors.zip(&row.factors).for_each(|(out, pair)| *out = pair[which]);
                }
            }
        }
    }
}
