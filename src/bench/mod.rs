//! Benchmarks: searches compared at equal budget where every answer is already known, and the LLM engine's
//! speed.
//!
//! Input of a search's is a published table of trained networks, output an any-time curve per search method:
//! mean and deviation over seeds of the best accuracy found after each evaluation. [`search`] holds the
//! methods, which see a finite [`space::Space`] only; [`nasbench201`] is the one table read so far. Nothing
//! is trained here, so a method is judged by how few evaluations it needs, not by its own time. [`llm`] times
//! the engine, with the caller's clock. [`prompts`] asks a model itself:
//! which prompts it answers with networks.

pub mod curve;
pub mod gaussian;
pub mod llm;
pub mod nasbench201;
pub mod operators;
pub mod prompts;
pub mod search;
pub mod space;
pub mod svg;
