//! Half-precision numbers: f32 in and out of 16 bits, the same on every processor.
//!
//! Rounding is to the nearest, ties to even, as `vcvtps2ph` does; the way back is exact. Reference: IEEE 754
//! binary16. Limit: not-a-numbers lose their payload.

/// A half-precision number, as its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub(crate) struct Half(pub(crate) u16);

/// The nearest half-precision number's bits.
pub(crate) fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // From the middle between the largest half, 65504, and the next step on: infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2^-14: adding 0.5 aligns and rounds the bits of the subnormal result.
        let aligned = f32::from_bits(magnitude) + 0.5;
        return sign | (aligned.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let odd = magnitude >> 13 & 1;
    sign | ((magnitude - (112 << 23) + 0xfff + odd) >> 13) as u16
}

/// The number that half-precision `bits` stand for.
#[inline(always)]
pub(crate) fn from_half(bits: u16) -> f32 {
    const SHIFT: f32 = f32::from_bits((112 + 127) << 23);
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // Scaling by 2^112 moves the exponent and makes subnormals whole.
    let scaled = (f32::from_bits(magnitude) * SHIFT).to_bits();
    let special = if magnitude >= 0x7c00 << 13 { 0xff << 23 } else { 0 };
    f32::from_bits(sign | scaled | special)
}

#[cfg(test)]
mod tests {
    use super::{from_half, to_half};

    #[test]
    fn known_numbers_are_decoded_exactly() {
        for (bits, value) in [
            (0x3c00u16, 1.0f32),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x8000, -0.0),
            (0x7bff, 65_504.0),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(from_half(bits).to_bits(), value.to_bits(), "{bits:x}");
        }
        assert!(from_half(0x7e01).is_nan());
    }

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let value = from_half(bits);
            assert!(value.is_nan() || to_half(value) == bits, "{bits:x}");
        }
    }

    #[test]
    fn a_number_between_two_halves_goes_to_the_nearer_and_from_the_middle_to_the_even_one() {
        for low in 0..0x7bffu16 {
            let (a, b) = (from_half(low), from_half(low + 1));
            let middle = a + (b - a) / 2.0;
            let even = if low % 2 == 0 { low } else { low + 1 };
            assert_eq!(to_half(middle), even, "{low:x}");
            assert_eq!(to_half(f32::from_bits(middle.to_bits() - 1)), low, "{low:x}");
            assert_eq!(to_half(-f32::from_bits(middle.to_bits() + 1)), 0x8000 | (low + 1), "{low:x}");
        }
        assert_eq!((to_half(65_519.0), to_half(65_520.0)), (0x7bff, 0x7c00));
    }
}
