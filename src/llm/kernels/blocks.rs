//! ggml's quantized block formats: bytes of one row in, unsigned codes with scales and minima (or f32
//! values) out.
//!
//! `value = scale * (code - offset) - min`. Formats as described in ggml's `ggml-common.h` and
//! `ggml-quants.c`; types without a version here are decoded by candle and rounded to 8 bits. Limit:
//! little-endian files only.

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Error};

use super::halves::from_half;

/// How the codes of a type are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// Columns per scale: 16 or 32.
    pub(crate) block: usize,
    /// The code that stands for zero.
    pub(crate) offset: i32,
    /// Largest code.
    pub(crate) largest: u8,
    /// Whether blocks have a minimum of their own.
    pub(crate) mins: bool,
    /// How the scales (and minima) are stored.
    pub(crate) scales: ScaleKind,
    /// Whether the codes are the file's own (else they are rounded from decoded values).
    exact: bool,
}

/// How the scales of a type are written down without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScaleKind {
    /// f32 each.
    Single,
    /// Half precision each.
    Half,
    /// So many blocks share one in half precision, and each has a small integer factor.
    Shared(usize),
}

/// One row, decoded to codes.
pub(crate) struct RowCodes {
    pub(crate) codes: Vec<u8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) mins: Vec<f32>,
    /// Scale and minimum that blocks share, and each block's factors, as bytes; for [`ScaleKind::Shared`].
    pub(crate) shared: Vec<[f32; 2]>,
    pub(crate) factors: Vec<[u8; 2]>,
}

impl Format {
    /// The format in which weights of type `dtype` are computed.
    pub(crate) fn of(dtype: GgmlDType) -> Format {
        use ScaleKind::{Half, Shared, Single};
        let (block, offset, largest, mins, scales, exact) = match dtype {
            GgmlDType::Q4_0 => (32, 8, 15, false, Half, true),
            GgmlDType::Q5_0 => (32, 16, 31, false, Half, true),
            GgmlDType::Q4_1 => (32, 0, 15, true, Half, true),
            GgmlDType::Q5_1 => (32, 0, 31, true, Half, true),
            GgmlDType::Q4K => (32, 0, 15, true, Shared(8), true),
            GgmlDType::Q5K => (32, 0, 31, true, Shared(8), true),
            GgmlDType::Q6K => (16, 32, 63, false, Shared(16), true),
            GgmlDType::Q8_0 => (32, 128, 255, false, Half, true),
            _ => (32, 128, 255, false, Single, false),
        };
        Format { block, offset, largest, mins, scales, exact }
    }
}

/// Bytes of a row of `cols` values, or an error where they are not whole blocks.
pub(crate) fn row_bytes(dtype: GgmlDType, cols: usize) -> Result<usize, Error> {
    if !cols.is_multiple_of(dtype.block_size()) {
        let block = dtype.block_size();
        return Err(Error::Msg(format!("rows of {cols} values are not whole {dtype:?} blocks of {block}")));
    }
    let bytes = (cols / dtype.block_size()).checked_mul(dtype.type_size());
    bytes.ok_or_else(|| Error::Msg(format!("rows of {cols} values are more than 64 bits can count")))
}

impl RowCodes {
    /// Room for `cols` values (a multiple of 32).
    pub(crate) fn new(format: Format, cols: usize) -> RowCodes {
        let blocks = cols / format.block;
        let mins = if format.mins { vec![0.0; blocks] } else { Vec::new() };
        let (shared, factors) = match format.scales {
            ScaleKind::Shared(together) => (vec![[0.0; 2]; blocks / together], vec![[0; 2]; blocks]),
            _ => (Vec::new(), Vec::new()),
        };
        RowCodes { codes: vec![0; cols], scales: vec![0.0; blocks], mins, shared, factors }
    }

    /// Decodes one row; `bytes` has [`row_bytes`] of them.
    pub(crate) fn decode(&mut self, dtype: GgmlDType, bytes: &[u8], cols: usize) -> Result<(), Error> {
        if !Format::of(dtype).exact {
            let mut values = vec![0.0f32; self.codes.len()];
            decode_by_candle(dtype, bytes, &mut values[..cols])?;
            self.round(&values);
            return Ok(());
        }
        for (index, bytes) in bytes.chunks_exact(dtype.type_size()).enumerate() {
            match dtype {
                GgmlDType::Q4K | GgmlDType::Q5K => self.super_block_min(dtype, index, bytes),
                GgmlDType::Q6K => self.super_block_six(index, bytes),
                _ => self.simple_block(dtype, index, bytes),
            }
        }
        Ok(())
    }

    /// `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`: 32 values.
    fn simple_block(&mut self, dtype: GgmlDType, index: usize, bytes: &[u8]) {
        let codes = &mut self.codes[index * 32..(index + 1) * 32];
        self.scales[index] = half(&bytes[0..]);
        if dtype == GgmlDType::Q8_0 {
            for (code, byte) in codes.iter_mut().zip(&bytes[2..]) {
                // A signed byte plus 128, modulo 256.
                *code = byte ^ 0x80;
            }
            return;
        }
        let mut rest = &bytes[2..];
        if matches!(dtype, GgmlDType::Q4_1 | GgmlDType::Q5_1) {
            self.mins[index] = -half(rest);
            rest = &rest[2..];
        }
        let mut fifth = 0u32;
        if matches!(dtype, GgmlDType::Q5_0 | GgmlDType::Q5_1) {
            fifth = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            rest = &rest[4..];
        }
        for (i, byte) in rest[..16].iter().enumerate() {
            codes[i] = byte & 15 | ((fifth >> i & 1) << 4) as u8;
            codes[i + 16] = byte >> 4 | ((fifth >> (i + 16) & 1) << 4) as u8;
        }
    }

    /// `Q4_K`, `Q5_K`: 256 values in 8 blocks, 6-bit scales and minima.
    fn super_block_min(&mut self, dtype: GgmlDType, index: usize, bytes: &[u8]) {
        let (scale, min) = (half(bytes), half(&bytes[2..]));
        self.shared[index] = [scale, min];
        let packed = &bytes[4..16];
        let (fifth, nibbles) =
            if dtype == GgmlDType::Q5K { (Some(&bytes[16..48]), &bytes[48..]) } else { (None, &bytes[16..]) };
        for block in 0..8 {
            let (s, m) = if block < 4 {
                (packed[block] & 63, packed[block + 4] & 63)
            } else {
                let low = packed[block + 4];
                (low & 15 | packed[block - 4] >> 6 << 4, low >> 4 | packed[block] >> 6 << 4)
            };
            self.scales[index * 8 + block] = scale * f32::from(s);
            self.mins[index * 8 + block] = min * f32::from(m);
            self.factors[index * 8 + block] = [s, m];
            let codes = &mut self.codes[(index * 8 + block) * 32..][..32];
            for (i, code) in codes.iter_mut().enumerate() {
                let byte = nibbles[block / 2 * 32 + i];
                let four = if block % 2 == 0 { byte & 15 } else { byte >> 4 };
                *code = four | fifth.map_or(0, |fifth| (fifth[i] >> block & 1) << 4);
            }
        }
    }

    /// `Q6_K`: 256 values in 16 blocks, 8-bit scales.
    fn super_block_six(&mut self, index: usize, bytes: &[u8]) {
        let (low, rest) = bytes.split_at(128);
        let (high, rest) = rest.split_at(64);
        let scale = half(&rest[16..]);
        self.shared[index] = [scale, 0.0];
        for (block, &byte) in rest[..16].iter().enumerate() {
            self.scales[index * 16 + block] = scale * f32::from(byte as i8);
            self.factors[index * 16 + block] = [byte, 0];
        }
        for (i, code) in self.codes[index * 256..(index + 1) * 256].iter_mut().enumerate() {
            // Two halves of 128; in each, four runs of 32 take the bits of the same bytes.
            let (half, run, lane) = (i / 128, i / 32 % 4, i % 32);
            let byte = low[half * 64 + run % 2 * 32 + lane];
            let four = if run < 2 { byte & 15 } else { byte >> 4 };
            *code = four | (high[half * 32 + lane] >> (2 * run) & 3) << 4;
        }
    }

    /// 8-bit codes of arbitrary values.
    fn round(&mut self, values: &[f32]) {
        for (block, values) in values.chunks_exact(32).enumerate() {
            let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let scale = most / 127.0;
            self.scales[block] = scale;
            for (code, value) in self.codes[block * 32..].iter_mut().zip(values) {
                let rounded =
                    if scale > 0.0 { (value / scale).round_ties_even().clamp(-127.0, 127.0) } else { 0.0 };
                *code = (rounded as i32 + 128) as u8;
            }
        }
    }
}

/// Decodes one row to f32 (for the embedding table, which is looked up, not multiplied).
pub(crate) fn decode_row(dtype: GgmlDType, bytes: &[u8], row: &mut [f32]) -> Result<(), Error> {
    let format = Format::of(dtype);
    if !format.exact {
        return decode_by_candle(dtype, bytes, row);
    }
    let mut codes = RowCodes::new(format, row.len());
    codes.decode(dtype, bytes, row.len())?;
    for (column, value) in row.iter_mut().enumerate() {
        let block = column / format.block;
        let min = codes.mins.get(block).copied().unwrap_or(0.0);
        *value = codes.scales[block] * (i32::from(codes.codes[column]) - format.offset) as f32 - min;
    }
    Ok(())
}

fn decode_by_candle(dtype: GgmlDType, bytes: &[u8], row: &mut [f32]) -> Result<(), Error> {
    if dtype == GgmlDType::F32 {
        for (value, bytes) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        return Ok(());
    }
    let tensor = qtensor_from_ggml(dtype, bytes, vec![row.len()], &Device::Cpu)?;
    row.copy_from_slice(&tensor.dequantize(&Device::Cpu)?.to_vec1::<f32>()?);
    Ok(())
}

/// The half-precision number at the start of `bytes`.
pub(crate) fn half(bytes: &[u8]) -> f32 {
    from_half(u16::from_le_bytes([bytes[0], bytes[1]]))
}
