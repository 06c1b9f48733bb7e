//! Conversion of the tiny models in `tests/fixtures`: what is written can be read back.
