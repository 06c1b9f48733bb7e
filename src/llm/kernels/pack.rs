//! Weights laid out for the kernels: ggml blocks in, panels of 16 rows in as many bits as the file has out.
//!
//! A panel's codes are lines of 64 bytes: one line is four columns of 16 rows, `[row][4]`, a byte per code; such a
//! line is a group. Types of fewer bits hold, block by block, the low four bits of two groups per line (the second
//! half of the block's groups in the high nibbles), then the bits above the fourth of all its groups in one line.
//! Scales and minima are `[block][row]`, halves as in the file, or bytes where blocks share a scale. Nothing is
//! rounded for the types that [`blocks`](super::blocks) knows, and a matrix takes what it takes in the file. Limit:
//! the file's own order of bytes cannot be used, so weights are not mapped but copied.

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
    codes: Pages<u8>,
    scales: Pages<f32>,
    /// Scales and minima, or those that blocks share.
    halves: [Pages<u16>; 2],
    /// Each block's factors of them.
    factors: [Pages<u8>; 2],
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

/// Elements of each array that a panel takes.
#[derive(Clone, Copy)]
struct PanelSizes {
    codes: usize,
    scales: usize,
    halves: [usize; 2],
    factors: [usize; 2],
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
        let per_panel = |count: usize, wanted: bool| if wanted { count.saturating_mul(PANEL) } else { 0 };
        let (single, halves, factors) = match self.scales {
            ScaleKind::Single => (blocks, 0, 0),
            ScaleKind::Half => (0, blocks, 0),
            ScaleKind::Shared(together) => (0, blocks / together, blocks),
        };
        PanelSizes {
            codes: (cols / 8 * self.bits()).saturating_mul(PANEL),
            scales: per_panel(single, true),
            halves: [per_panel(halves, true), per_panel(halves, self.mins)],
            factors: [per_panel(factors, true), per_panel(factors, self.mins)],
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
        let mut matrix = PackedMatrix {
            rows,
            cols: padded,
            format,
            codes: Pages::zeroed(panels * sizes.codes)?,
            scales: Pages::zeroed(panels * sizes.scales)?,
            halves: [Pages::zeroed(panels * sizes.halves[0])?, Pages::zeroed(panels * sizes.halves[1])?],
            factors: [Pages::zeroed(panels * sizes.factors[0])?, Pages::zeroed(panels * sizes.factors[1])?],
        };
        let failure = std::sync::Mutex::new(None);
        let (codes, scales) = (SharedMut::new(&mut matrix.codes), SharedMut::new(&mut matrix.scales));
        let halves = matrix.halves.each_mut().map(|halves| SharedMut::new(halves));
        let factors = matrix.factors.each_mut().map(|factors| SharedMut::new(factors));
        workers.for_each(panels, |panel| {
            // SAFETY: each panel has its own part of every array.
            let mut target = unsafe {
                PanelMut {
                    codes: codes.slice(panel * sizes.codes, sizes.codes),
                    scales: scales.slice(panel * sizes.scales, sizes.scales),
                    halves: [0, 1].map(|i| halves[i].slice(panel * sizes.halves[i], sizes.halves[i])),
                    factors: [0, 1].map(|i| factors[i].slice(panel * sizes.factors[i], sizes.factors[i])),
                }
            };
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
        let sizes = Format::of(dtype).panel_sizes(cols.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX));
        let halves = sizes.halves[0].saturating_add(sizes.halves[1]).saturating_mul(size_of::<u16>());
        let factors = sizes.factors[0].saturating_add(sizes.factors[1]);
        let scales = sizes.scales.saturating_mul(size_of::<f32>());
        let panel = sizes.codes.saturating_add(halves).saturating_add(factors).saturating_add(scales);
        panel.saturating_mul(rows.div_ceil(PANEL))
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
        let halves = size_of_val(&self.halves[0][..]) + size_of_val(&self.halves[1][..]);
        let factors = self.factors[0].len() + self.factors[1].len();
        self.codes.len() + size_of_val(&self.scales[..]) + halves + factors
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
        let scale = |which: usize, out: &'a mut Vec<f32>| -> &'a [f32] {
            let (halves, factors) = (sizes.halves[which], sizes.factors[which]);
            let halves = &self.halves[which][index * halves..(index + 1) * halves];
            let factors = &self.factors[which][index * factors..(index + 1) * factors];
            out.resize(self.cols / self.format.block * PANEL, 0.0);
            match self.format.scales {
                ScaleKind::Shared(together) => unpack::scales_of(isa, halves, factors, together, out),
                _ => unpack::floats_of(isa, halves, out),
            }
            out
        };
        let mins = self.format.mins.then(|| scale(1, mins));
        let scales = match self.format.scales {
            ScaleKind::Single => &self.scales[index * sizes.scales..(index + 1) * sizes.scales],
            _ => scale(0, scales),
        };
        let mut codes = &self.codes[index * sizes.codes..(index + 1) * sizes.codes];
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
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    halves: [&'a mut [u16]; 2],
    factors: [&'a mut [u8]; 2],
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
        let halves = |values: &[f32], out: &mut [u16]| {
            for (out, value) in out.iter_mut().skip(lane).step_by(PANEL).zip(values) {
                *out = to_half(*value);
            }
        };
        let [scales, mins] = &mut self.halves;
        match format.scales {
            ScaleKind::Single => {
                for (out, value) in self.scales.iter_mut().skip(lane).step_by(PANEL).zip(&row.scales) {
                    *out = *value;
                }
            }
            ScaleKind::Half => {
                halves(&row.scales, scales);
                halves(&row.mins, mins);
            }
            ScaleKind::Shared(_) => {
                for (which, out) in [scales, mins].into_iter().enumerate() {
                    halves(&row.shared.iter().map(|pair| pair[which]).collect::<Vec<_>>(), out);
                    let factors = self.factors[which].iter_mut().skip(lane).step_by(PANEL);
                    factors.zip(&row.factors).for_each(|(out, pair)| *out = pair[which]);
                }
            }
        }
    }
}
