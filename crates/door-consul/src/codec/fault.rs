//! What a request is refused with: a status and the original's words, which clients compare.

use std::borrow::Cow;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// The body, as it travels: plain text without a line end.
    pub text: Cow<'static, str>,
    /// What `Allow` says, with 405.
    pub allow: Option<String>,
}

impl Fault {
    /// A refusal.
    pub fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Fault { status, text: text.into(), allow: None }
    }

    /// 400.
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::new(400, text)
    }

    /// 500, which the original also says of what a client did wrong.
    pub fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::new(500, text)
    }

    /// 403.
    pub fn denied() -> Self {
        Fault::new(403, "Permission denied")
    }

    /// 404.
    pub fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::new(404, text)
    }

    /// 413.
    pub fn too_large(bytes_max: usize) -> Self {
        let why = format!("Request body too large, max size: {bytes_max} bytes.");
        Fault::new(413, why)
    }
}
