//! Seeded augmentation of a whole batch at once: mirror and shifted crop, images in, images out.
//!
//! Standard practice for CIFAR (He et al. 2016): pad, crop at a random place, mirror half. The choices are
//! drawn from our own stream, so they do not depend on the device. One limit: padding is black (pixel value
//! 0).

use tch::{TchError, Tensor};

use crate::data::uploaded;
use crate::rng::Stream;

/// What is done to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Augmentation {
    /// Mirror half of the images left to right.
    pub(crate) flip: bool,
    /// Pad by this many pixels on each side, then crop to the old size at a random place.
    pub(crate) padding: usize,
}

impl Augmentation {
    pub(crate) fn is_identity(self) -> bool {
        !self.flip && self.padding == 0
    }
}

/// Mirror and crop a batch `(n, c, h, w)` of bytes; other ranks pass as they are.
pub(crate) fn crop_and_flip(
    images: &Tensor,
    augmentation: Augmentation,
    stream: &mut Stream,
) -> Result<Tensor, TchError> {
    let sizes = images.size();
    let &[n, _, h, w] = sizes.as_slice() else { return Ok(images.shallow_clone()) };
    if augmentation.is_identity() {
        return Ok(images.shallow_clone());
    }
    let padding = augmentation.padding as i64;
    let choices: Vec<Choice> = (0..n).map(|_| Choice::draw(augmentation, stream)).collect();
    let rows: Vec<i64> = choices.iter().flat_map(|choice| (0..h).map(move |y| y + choice.top)).collect();
    let columns: Vec<i64> = choices
        .iter()
        .flat_map(|choice| (0..w).map(move |x| choice.left + if choice.mirror { w - 1 - x } else { x }))
        .collect();
    let padded = if padding > 0 {
        images.f_constant_pad_nd([padding, padding, padding, padding])?
    } else {
        images.shallow_clone()
    };
    let device = images.device();
    let (width, channels) = (w + 2 * padding, sizes[1]);
    // One gather over the flattened plane: index = row * width + column, the same for every channel.
    let rows = Tensor::f_from_slice(&rows)?.f_view([n, h, 1])?;
    let columns = Tensor::f_from_slice(&columns)?.f_view([n, 1, w])?;
    let places = uploaded(&(rows * width).f_add(&columns)?.f_view([n, 1, h * w])?, device)?;
    let planes = padded.f_reshape([n, channels, (h + 2 * padding) * width])?;
    let places = places.f_expand([n, channels, h * w], false)?;
    planes.f_gather(2, &places, false)?.f_view([n, channels, h, w])
}

/// Where one image is cropped, in pixels of the padded image, and whether it is mirrored.
struct Choice {
    top: i64,
    left: i64,
    mirror: bool,
}

impl Choice {
    fn draw(augmentation: Augmentation, stream: &mut Stream) -> Choice {
        // Offsets 0 to 2 * padding, both included.
        let places = 2 * augmentation.padding + 1;
        Choice {
            top: stream.below(places) as i64,
            left: stream.below(places) as i64,
            mirror: augmentation.flip && stream.below(2) == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tch::Kind;

    use super::*;
    use crate::rng::RootSeed;

    /// `count` copies of the 1 x 3 x 3 image 1..=9.
    fn copies(count: i64) -> Tensor {
        Tensor::from_slice(&[1u8, 2, 3, 4, 5, 6, 7, 8, 9]).view([1, 1, 3, 3]).repeat([count, 1, 1, 1])
    }

    fn images(tensor: &Tensor) -> Vec<Vec<u8>> {
        let values: Vec<u8> = Vec::try_from(tensor.to_kind(Kind::Uint8).flatten(0, -1)).unwrap();
        values.chunks(9).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn a_flip_mirrors_left_to_right_about_half_of_the_images() {
        let flip = Augmentation { flip: true, padding: 0 };
        let out = crop_and_flip(&copies(200), flip, &mut RootSeed(1).stream("t", &[])).unwrap();
        let mirrored = vec![3, 2, 1, 6, 5, 4, 9, 8, 7];
        let count = images(&out).iter().filter(|image| **image == mirrored).count();
        let plain = images(&out).iter().filter(|image| **image == (1..=9).collect::<Vec<u8>>()).count();
        assert_eq!(count + plain, 200);
        assert!((70..130).contains(&count), "{count}");
    }

    #[test]
    fn every_crop_offset_occurs_the_last_one_too() {
        let crop = Augmentation { flip: false, padding: 1 };
        let out = crop_and_flip(&copies(300), crop, &mut RootSeed(2).stream("t", &[])).unwrap();
        let seen: BTreeSet<Vec<u8>> = images(&out).into_iter().collect();
        let mut expected = BTreeSet::new();
        for (top, left) in (0..9).map(|i| (i / 3, i % 3)) {
            let pixel = |y: i64, x: i64| {
                let (y, x) = (y + top - 1, x + left - 1);
                if (0..3).contains(&y) && (0..3).contains(&x) { (y * 3 + x + 1) as u8 } else { 0 }
            };
            expected.insert((0..9).map(|i| pixel(i / 3, i % 3)).collect::<Vec<u8>>());
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_same_stream_gives_the_same_images() {
        let both = Augmentation { flip: true, padding: 2 };
        let draw =
            |seed| images(&crop_and_flip(&copies(20), both, &mut RootSeed(seed).stream("t", &[])).unwrap());
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
