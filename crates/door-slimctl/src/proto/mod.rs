//! The messages of SLIM's control protocols, by the numbers of their fields. Pure data.
//!
//! Fields that are not here are not read: nothing is handed on as it came.
//!
//! Source: `controller.proto`, `controlplane.proto` and `data_plane.proto` of agntcy/slim.

pub mod control;
pub mod plane;

use prost::Message;

/// A name: what it is routed by, and what it was before it was hashed.
#[derive(Clone, PartialEq, Message)]
pub struct Name {
    /// What it is routed by.
    #[prost(message, optional, tag = "1")]
    pub encoded: Option<Encoded>,
    /// The texts, where they are known.
    #[prost(message, optional, tag = "2")]
    pub texts: Option<Texts>,
}

/// Three hashes and an instance.
#[derive(Clone, PartialEq, Message)]
pub struct Encoded {
    /// The hash of the organisation.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// The hash of the namespace.
    #[prost(uint64, tag = "2")]
    pub second: u64,
    /// The hash of the application.
    #[prost(uint64, tag = "3")]
    pub third: u64,
    /// The instance; none: any.
    #[prost(message, optional, tag = "4")]
    pub id: Option<Id>,
}

/// An instance.
#[derive(Clone, PartialEq, Message)]
pub struct Id {
    /// Its upper 64 bits.
    #[prost(uint64, tag = "1")]
    pub high: u64,
    /// Its lower 64 bits.
    #[prost(uint64, tag = "2")]
    pub low: u64,
}

/// What the hashes of a name were made of.
#[derive(Clone, PartialEq, Message)]
pub struct Texts {
    /// The organisation.
    #[prost(string, tag = "1")]
    pub first: String,
    /// The namespace.
    #[prost(string, tag = "2")]
    pub second: String,
    /// The application.
    #[prost(string, tag = "3")]
    pub third: String,
}
