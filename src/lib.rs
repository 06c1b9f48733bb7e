//! Neural architecture search with a code LLM in process: prompts in, PyTorch networks out, nothing executed but
//! tensors.
//!
//! The modules are listed in the order in which data flows through them:
//!
//! ```text
//! config ─▶ search ─prompt─▶ llm ─text─▶ python ─tree─▶ lower ─▶ graph ─▶ descriptor
//!             ▲                                                   │            │
//!             └──────────────── archive ◀── fitness ── train ◀────┘ ◀──────────┘
//! ```
//!
//! `ARCHITECTURE.md` says what each may import and what each must never know.
#![warn(missing_docs)]

pub mod archive;
pub mod bench;
pub mod config;
#[cfg(feature = "torch")]
pub mod data;
pub mod descriptor;
pub mod graph;
pub mod llm;
pub mod lower;
pub mod python;
pub mod report;
pub mod rng;
pub mod search;
#[cfg(feature = "torch")]
pub mod train;
