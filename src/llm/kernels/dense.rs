//! Weights that stay f32: (rows, columns) in, products with f32 activations out.
//!
//! Used for matrices that a file stores in f32, where rounding to 8 bits would lose what the file's maker
//! kept. Each product is one dot product of fixed order, so the bits are those of every processor and batch.
//! Limit: about a quarter of the speed of 8-bit weights; meant for small matrices and for checking.

use candle_core::Error;
use candle_core::quantized::GgmlDType;

use super::blocks::{decode_row, row_bytes};
use super::math::dot;
use super::pages::Pages;
use super::{Activations, BLOCK, Isa, PANEL, PackedMatrix, SharedMut, Workers};

/// A weight matrix in the form in which it is multiplied.
pub(crate) enum Matrix {
    /// Codes of 8 bits and less.
    Packed(PackedMatrix),
    /// f32.
    Dense(DenseMatrix),
}

/// A weight matrix (rows, cols) in f32.
pub(crate) struct DenseMatrix {
    rows: usize,
    /// A multiple of 32; the padding is 0.
    cols: usize,
    values: Pages<f32>,
}

impl Matrix {
    /// Lays out `rows` rows of `cols` values of type `dtype`.
    pub(crate) fn load(
        workers: &Workers,
        dtype: GgmlDType,
        bytes: &[u8],
        rows: usize,
        cols: usize,
    ) -> Result<Matrix, Error> {
        if dtype != GgmlDType::F32 {
            return PackedMatrix::pack(workers, dtype, bytes, rows, cols).map(Matrix::Packed);
        }
        let (per_row, padded) = (row_bytes(dtype, cols)?, cols.next_multiple_of(BLOCK));
        let mut values = Pages::<f32>::zeroed(rows * padded)?;
        for (row, bytes) in values.chunks_exact_mut(padded).zip(bytes.chunks_exact(per_row)) {
            decode_row(dtype, bytes, &mut row[..cols])?;
        }
        Ok(Matrix::Dense(DenseMatrix { rows, cols: padded, values }))
    }

    /// Memory that a matrix of this type and shape takes; saturates where a hostile header would overflow.
    pub(crate) fn bytes_for(dtype: GgmlDType, rows: usize, cols: usize) -> usize {
        if dtype != GgmlDType::F32 {
            return PackedMatrix::bytes_for(dtype, rows, cols);
        }
        let padded = cols.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
        rows.saturating_mul(padded).saturating_mul(size_of::<f32>())
    }

    /// Output width.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Matrix::Packed(packed) => packed.rows(),
            Matrix::Dense(dense) => dense.rows,
        }
    }

    /// Inner width, padded to whole blocks of 32.
    pub(crate) fn cols(&self) -> usize {
        match self {
            Matrix::Packed(packed) => packed.cols(),
            Matrix::Dense(dense) => dense.cols,
        }
    }

    /// Number of panels of 16 rows.
    pub(crate) fn panels(&self) -> usize {
        self.rows().div_ceil(PANEL)
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Matrix::Packed(packed) => packed.bytes(),
            Matrix::Dense(dense) => dense.values.len() * size_of::<f32>(),
        }
    }

    /// Whether its activations must be kept in f32 ([`Activations::quantize`]).
    pub(crate) fn is_dense(&self) -> bool {
        matches!(self, Matrix::Dense(_))
    }
}

impl DenseMatrix {
    /// Multiplies the rows of one panel by every token: `out[token * rows + row]`.
    pub(crate) fn multiply_panel(
        &self,
        isa: Isa,
        panel: usize,
        activations: &Activations,
        out: &SharedMut<'_, f32>,
    ) {
        let first = panel * PANEL;
        let width = PANEL.min(self.rows - first);
        for token in 0..activations.tokens() {
            let x = activations.values(token);
            // SAFETY: panels are disjoint ranges of rows, so no other call writes these elements.
            let out = unsafe { out.slice(token * self.rows + first, width) };
            for (row, out) in out.iter_mut().enumerate() {
                *out = dot(isa, x, &self.values[(first + row) * self.cols..][..self.cols]);
            }
        }
    }
}
