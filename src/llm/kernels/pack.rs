//! Weights laid out for the kernels: ggml blocks in, panels of 16 rows with one byte per code out.
//!
//! Layout of a panel: codes `[columns / 4][row][4]`, scales and minima `[block][row]`. Nothing is rounded
//! for the types that [`blocks`] knows. Limit: 4- and 5-bit codes take a whole byte, so memory traffic is
//! that of `Q8_0`.

use candle_core::Error;
use candle_core::quantized::GgmlDType;

use super::blocks::{Format, RowCodes, row_bytes};
use super::{BLOCK, PANEL, SharedMut, Workers};

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
    codes: Vec<u8>,
    scales: Vec<f32>,
    mins: Vec<f32>,
}

/// Sixteen rows of a matrix.
pub(crate) struct Panel<'a> {
    pub(crate) block: usize,
    pub(crate) offset: i32,
    pub(crate) levels: Levels,
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [f32],
    pub(crate) mins: Option<&'a [f32]>,
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
        let (panel_codes, panel_scales) = (padded * PANEL, padded / format.block * PANEL);
        let mut codes = vec![0u8; panels * panel_codes];
        let mut scales = vec![0.0f32; panels * panel_scales];
        let mut mins = vec![0.0f32; if format.mins { panels * panel_scales } else { 0 }];
        let failure = std::sync::Mutex::new(None);
        let (shared_codes, shared_scales) = (SharedMut::new(&mut codes), SharedMut::new(&mut scales));
        let shared_mins = SharedMut::new(&mut mins);
        workers.for_each(panels, |panel| {
            // SAFETY: each panel has its own part of every array.
            let (codes, scales, mins) = unsafe {
                (
                    shared_codes.slice(panel * panel_codes, panel_codes),
                    shared_scales.slice(panel * panel_scales, panel_scales),
                    if format.mins { shared_mins.slice(panel * panel_scales, panel_scales) } else { &mut [] },
                )
            };
            let mut row = RowCodes::new(format, padded);
            for lane in 0..PANEL.min(rows - panel * PANEL) {
                let bytes = &bytes[(panel * PANEL + lane) * row_bytes..][..row_bytes];
                if let Err(error) = row.decode(dtype, bytes, cols) {
                    *failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    return;
                }
                for (group, four) in row.codes.as_chunks::<4>().0.iter().enumerate() {
                    codes[(group * PANEL + lane) * 4..][..4].copy_from_slice(four);
                }
                for (block, scale) in row.scales.iter().enumerate() {
                    scales[block * PANEL + lane] = *scale;
                }
                for (block, min) in row.mins.iter().enumerate() {
                    mins[block * PANEL + lane] = *min;
                }
            }
        });
        match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(PackedMatrix { rows, cols: padded, format, codes, scales, mins }),
        }
    }

    /// Memory that a matrix of this type and shape takes once packed.
    pub(crate) fn bytes_for(dtype: GgmlDType, rows: usize, cols: usize) -> usize {
        let format = Format::of(dtype);
        let padded = |size: usize, to| size.checked_next_multiple_of(to).unwrap_or(usize::MAX);
        let (rows, cols) = (padded(rows, PANEL), padded(cols, BLOCK));
        let scales = (cols / format.block).saturating_mul(if format.mins { 8 } else { 4 });
        rows.saturating_mul(cols.saturating_add(scales))
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
        self.codes.len() + 4 * (self.scales.len() + self.mins.len())
    }

    /// Panel `index`.
    pub(crate) fn panel(&self, index: usize) -> Panel<'_> {
        let (codes, scales) = (self.cols * PANEL, self.cols / self.format.block * PANEL);
        let part = index * scales..(index + 1) * scales;
        Panel {
            block: self.format.block,
            offset: self.format.offset,
            levels: match self.format.largest {
                0..=31 => Levels::Five,
                32..=63 => Levels::Six,
                _ => Levels::Eight,
            },
            codes: &self.codes[index * codes..(index + 1) * codes],
            scales: &self.scales[part.clone()],
            mins: self.format.mins.then(|| &self.mins[part]),
        }
    }
}
