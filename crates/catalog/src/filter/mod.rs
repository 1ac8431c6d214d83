//! The grammar by which readers choose: go-bexpr's.

use alloc::string::String;

use thiserror::Error;

use crate::model::{Check, Health, Node, Service};

/// What an expression can be evaluated against.
pub trait Selectable {}

impl Selectable for Health {}
impl Selectable for Check {}
impl Selectable for Node {}
impl Selectable for Service {}
impl Selectable for CatalogService<'_> {}

/// An instance as `/v1/catalog/service` lists it: one flat thing.
#[derive(Debug, Clone, Copy)]
pub struct CatalogService<'a>(pub &'a Health);

/// Why a text is no expression. Begins as the original's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Failed to create boolean expression evaluator: {0}")]
pub struct FilterError(pub String);

/// An expression that was found to fit what it is evaluated against.
#[derive(Debug, Clone)]
pub struct Filter;

impl Filter {
    /// Reads an expression for things of a kind.
    ///
    /// # Errors
    /// [`FilterError`]: malformed, too long, too deep, or it speaks of what such a thing has not.
    pub fn parse<S: Selectable + ?Sized>(text: &str) -> Result<Filter, FilterError> {
        let _ = text;
        Ok(Filter)
    }

    /// Whether a thing is chosen.
    pub fn matches<S: Selectable + ?Sized>(&self, thing: &S) -> bool {
        let _ = thing;
        true
    }
}
