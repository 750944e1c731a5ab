//! The specification as data, and as a judge of answers.
//!
//! Owns the reading of the specification's OpenAPI files, the finding of the operation that a request means, and the
//! verdict on an answer. Tests of several crates use it, so it must never use a crate of ours, nor know an endpoint by name
//! where the files say the same.
//!
//! The files are not part of the checkout. They are looked for in `../shared/spec` beside it, or where `HEARTH_SPEC` says;
//! where there are none, nothing is judged.
//!
//! | for | read |
//! |---|---|
//! | all operations | [`Specification`] |
//! | one of them | [`Operation`] |
//! | what is right about an answer, or wrong | [`Exchange`], [`Recorder`] |
//! | the table that people read | [`page`] |

mod format;
mod judge;
mod operation;
mod page;
mod recorder;
mod specification;

pub use judge::{Exchange, Judgement};
pub use operation::Operation;
pub use page::page;
pub use recorder::Recorder;
pub use specification::{Failure, Specification};
