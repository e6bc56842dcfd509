//! What an operator wrote: YAML text in, typed values and every fault out.
//!
//! Nothing here opens a file, reads the environment or decides what a setting means. The order of reading: `yaml` and
//! `document` (text to positioned tree), `decode` (tree to one typed value, stopping at the first mismatch), [`parse`]
//! (decodes again without the faulty part until nothing is wrong), then [`positions`] for later phases.

mod choice;
mod decode;
mod document;
mod excerpt;
pub mod fault;
mod mismatch;
pub mod parse;
pub mod path;
pub mod positions;
pub mod scalar;
mod secrecy;
mod suggest;
mod yaml;
