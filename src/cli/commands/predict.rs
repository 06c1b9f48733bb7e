//! `predict`: a network's logits for given inputs, by libtorch.
//!
//! Input: a source, its weights, a safetensors file with one float32 tensor. Output: a safetensors file with
//! `logits`. One limit: the whole input is one batch.

use crate::cli::Failure;
use crate::cli::args::PredictArgs;

/// `predict`
#[cfg(not(feature = "torch"))]
pub(crate) fn predict(args: &PredictArgs) -> Result<(), Failure> {
    let message = format!("{}: this program was built without libtorch", args.file.display());
    Err(Failure::refused(message).hint("build it with the feature `torch`"))
}

/// `predict`
#[cfg(feature = "torch")]
pub(crate) fn predict(args: &PredictArgs) -> Result<(), Failure> {
    use llmatic_offline::lower;
    use llmatic_offline::train::{self, Weights};

    let source = super::read(&args.file)?;
    let (sizes, values) = torch::input(&args.input)?;
    let name = args.file.display().to_string();
    let network = lower::lower(&lower::Request {
        entry: args.entry.as_deref(),
        imports: &super::Beside::of(&args.file),
        ..lower::Request::new(&source, sizes.get(1..).unwrap_or_default(), None)
    })
    .map_err(|refusal| Failure::refused(refusal.render(&source, &name)))?;
    let weights = Weights::load(&args.weights).map_err(|error| Failure::refused(error.to_string()))?;
    let (sizes, logits) = train::predict(&network.graph, &weights, &sizes, &values)
        .map_err(|failure| Failure::refused(format!("{name}: {failure}")))?;
    torch::write(&args.output, sizes, &logits)?;
    crate::cli::printer::data(&args.output.display().to_string());
    Ok(())
}

#[cfg(feature = "torch")]
mod torch {
    use std::path::Path;

    use safetensors::tensor::TensorView;
    use safetensors::{Dtype, SafeTensors};

    use crate::cli::Failure;

    /// Sizes and values of the only tensor of a file.
    pub(super) fn input(path: &Path) -> Result<(Vec<usize>, Vec<f32>), Failure> {
        let fail = |reason: String| Failure::refused(format!("{}: {reason}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| fail(error.to_string()))?;
        let names = tensors.names();
        let [name] = names.as_slice() else {
            return Err(fail(format!("expected one tensor, got {}", names.len())));
        };
        let tensor = tensors.tensor(name).map_err(|error| fail(error.to_string()))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(fail(format!("tensor {name}: expected float32, got {:?}", tensor.dtype())));
        }
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok((tensor.shape().to_vec(), values.collect()))
    }

    pub(super) fn write(path: &Path, sizes: Vec<usize>, logits: &[f32]) -> Result<(), Failure> {
        let fail = |reason: String| Failure::failed(format!("{}: {reason}", path.display()));
        let bytes: Vec<u8> = logits.iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, sizes, &bytes).map_err(|error| fail(error.to_string()))?;
        let file =
            safetensors::serialize([("logits", view)], None).map_err(|error| fail(error.to_string()))?;
        std::fs::write(path, file).map_err(|error| fail(error.to_string()))
    }
}
