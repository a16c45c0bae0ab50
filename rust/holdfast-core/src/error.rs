//! What can go wrong below Python, each with the stable code users see.

use std::fmt;

/// An error of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Stable code, as in `HF501`.
    pub code: &'static str,
    /// What happened and what to do, without the code.
    pub text: String,
}

impl Error {
    /// A new error.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
    /// The slot behind a handle was reclaimed.
    #[must_use]
    pub fn gone() -> Self {
        Self::new(
            "HF104",
            "this object no longer exists: every process that had it has dropped it, or the program that made it has ended",
        )
    }
    /// The arena holds something that holdfast did not write.
    pub fn corrupt(what: impl fmt::Display) -> Self {
        Self::new(
            "HF504",
            format!("the shared memory of this program is damaged ({what}): somebody overwrote or truncated its file; end all processes of the program and start it again"),
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.text)
    }
}

impl std::error::Error for Error {}

/// Result of the core.
pub type Result<T> = std::result::Result<T, Error>;
