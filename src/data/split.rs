//! The three parts of a data set and the normalisation that the training part defines: bytes in, float
//! batches out.
//!
//! Selection sees training and validation only; the test part has one accessor, for the final report. One
//! limit: the split is by image, not stratified by class.

use tch::{Kind, TchError, Tensor};

use super::DatasetInfo;
use crate::rng::RootSeed;

/// Below this, a channel is of one colour and is not scaled.
const STD_MIN: f64 = 1e-6;

/// Images `(N, C, H, W)` as bytes, labels `(N,)` as integers.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) images: Tensor,
    pub(crate) labels: Tensor,
}

impl Part {
    /// The same tensors, not copied.
    pub(crate) fn share(&self) -> Part {
        Part { images: self.images.shallow_clone(), labels: self.labels.shallow_clone() }
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.labels.numel()
    }

    fn select(&self, indices: &[i64]) -> Result<Part, TchError> {
        let indices = Tensor::f_from_slice(indices)?.f_to(self.images.device())?;
        Ok(Part {
            images: self.images.f_index_select(0, &indices)?,
            labels: self.labels.f_index_select(0, &indices)?,
        })
    }
}

/// Per-channel mean and standard deviation of the training part, pixels counted in 0..1.
#[derive(Debug)]
pub(crate) struct Normalisation {
    pub(crate) mean: Vec<f64>,
    pub(crate) std: Vec<f64>,
    /// `1 / (255 std)` and `-mean / std`, `(C, 1, 1)`.
    factor: Tensor,
    offset: Tensor,
}

impl Normalisation {
    fn of(training: &Tensor) -> Result<Normalisation, TchError> {
        let sizes = training.size();
        let channels = sizes.get(1).copied().unwrap_or(1);
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for channel in 0..channels {
            // Whole numbers below 2^63, so the sums are exact whatever the order.
            let values = training.f_select(1, channel)?.f_to_kind(Kind::Int64)?;
            let count = values.numel().max(1) as f64;
            let sum = values.f_sum(Kind::Int64)?.f_int64_value(&[])? as f64;
            let squares = values.f_square()?.f_sum(Kind::Int64)?.f_int64_value(&[])? as f64;
            let average = sum / count;
            mean.push(average / 255.0);
            let deviation = (squares / count - average * average).max(0.0).sqrt() / 255.0;
            std.push(if deviation < STD_MIN { 1.0 } else { deviation });
        }
        let per_channel = |value: &dyn Fn(usize) -> f64| -> Result<Tensor, TchError> {
            let values: Vec<f32> = (0..mean.len()).map(|channel| value(channel) as f32).collect();
            // (C, 1, 1), or (C) where a sample is a vector
            let shape: Vec<i64> =
                sizes.iter().skip(1).enumerate().map(|(i, _)| if i == 0 { channels } else { 1 }).collect();
            Tensor::f_from_slice(&values)?.f_reshape(shape)?.f_to(training.device())
        };
        let factor = per_channel(&|channel| 1.0 / (255.0 * std[channel]))?;
        let offset = per_channel(&|channel| -mean[channel] / std[channel])?;
        Ok(Normalisation { mean, std, factor, offset })
    }

    /// Bytes to floats of mean 0 and deviation 1.
    pub(crate) fn apply(&self, images: &Tensor) -> Result<Tensor, TchError> {
        images.f_to_kind(Kind::Float)?.f_mul_(&self.factor)?.f_add_(&self.offset)
    }

    pub(crate) fn share(&self) -> Normalisation {
        Normalisation {
            mean: self.mean.clone(),
            std: self.std.clone(),
            factor: self.factor.shallow_clone(),
            offset: self.offset.shallow_clone(),
        }
    }
}

/// A data set in its three parts.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) info: DatasetInfo,
    pub(crate) train: Part,
    pub(crate) validation: Part,
    test: Part,
    pub(crate) normalisation: Normalisation,
}

impl Split {
    pub(super) fn new(
        info: DatasetInfo,
        training: &Part,
        test: Part,
        seed: RootSeed,
    ) -> Result<Split, TchError> {
        let (validation, train) = held_out(training.len(), info.validation, seed);
        let train = training.select(&train)?;
        let normalisation = Normalisation::of(&train.images)?;
        Ok(Split { info, train, validation: training.select(&validation)?, test, normalisation })
    }

    /// The test part. Only the final report may ask for it: a search that selects by it measures nothing.
    pub(crate) fn test_part_for_the_final_report(&self) -> &Part {
        &self.test
    }
}

/// Indices held out for validation and those left for training, each in ascending order.
fn held_out(count: usize, validation: usize, seed: RootSeed) -> (Vec<i64>, Vec<i64>) {
    let mut order: Vec<i64> = (0..count as i64).collect();
    seed.stream("split", &[]).shuffle(&mut order);
    let train = order.split_off(validation.min(count));
    let sorted = |mut indices: Vec<i64>| {
        indices.sort_unstable();
        indices
    };
    (sorted(order), sorted(train))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    fn split() -> Split {
        Dataset::synthetic(&[1, 4, 4], 3, (50, 20, 30), RootSeed(1)).unwrap().split(RootSeed(2)).unwrap()
    }

    #[test]
    fn held_out_images_are_not_trained_on_and_every_image_has_a_part() {
        let (validation, train) = held_out(100, 30, RootSeed(5));
        assert_eq!((validation.len(), train.len()), (30, 70));
        let mut all = [validation.clone(), train].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<i64>>());
        assert_ne!(validation, (0..30).collect::<Vec<i64>>());
        assert_ne!(validation, held_out(100, 30, RootSeed(6)).0);
    }

    #[test]
    fn the_training_part_is_normalised_to_mean_zero_and_deviation_one() {
        let split = split();
        let images = split.normalisation.apply(&split.train.images).unwrap();
        assert!(images.mean(Kind::Float).double_value(&[]).abs() < 1e-5);
        assert!((images.std(false).double_value(&[]) - 1.0).abs() < 1e-2);
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_pixels_per_channel() {
        let pixels = [0u8, 51, 102, 153, 255, 255, 255, 255];
        let images = Tensor::from_slice(&pixels).view([1, 2, 2, 2]);
        let normalisation = Normalisation::of(&images).unwrap();
        assert!((normalisation.mean[0] - 0.3).abs() < 1e-12 && (normalisation.mean[1] - 1.0).abs() < 1e-12);
        assert!((normalisation.std[0] - 0.05f64.sqrt()).abs() < 1e-12);
        // A channel of one colour comes out as zeros, not as infinities.
        let values = normalisation.apply(&images).unwrap();
        assert!(values.select(1, 1).abs().max().double_value(&[]) < 1e-6);
    }
}
