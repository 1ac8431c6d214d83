//! Calls by gRPC over HTTP/2: a frame is a byte that says whether the message is compressed, its length in four bytes,
//! and the message; what came of a call stands in the trailers.
//!
//! Heads are sent at once, before anything is read.
//!
//! Source: gRPC over HTTP2.

mod body;
mod serve;

pub(crate) use body::{Incoming, Part, Reply};
pub(crate) use serve::{Call, Calls, Server};

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use crate::limits::MESSAGE_BYTES_MAX;

/// Bytes before a message.
const HEAD: usize = 5;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) text: String,
}

/// Codes of gRPC, as far as they are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    Ok = 0,
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Unavailable = 14,
}

impl Status {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Status { code, text: text.into() }
    }

    pub(crate) fn ok() -> Self {
        Status::new(Code::Ok, "")
    }
}

/// A message as a frame.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows: encoding into it does not fail.
    let _encoded = message.encode(&mut bytes);
    bytes.freeze()
}

/// Takes the first whole message off what was read.
pub(crate) fn take(bytes: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let [compressed, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 {
        return Err(Status::new(Code::Unimplemented, "compressed messages are not taken"));
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(Status::new(Code::ResourceExhausted, "the message is too large"));
    }
    if bytes.len() < HEAD + length {
        return Ok(None);
    }
    let _head = bytes.split_to(HEAD);
    Ok(Some(bytes.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::plane::Named;

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let sent = Named { name: "x".repeat(300) };
        let bytes = frame(&sent);
        let mut read = BytesMut::new();
        for byte in &bytes[..bytes.len() - 1] {
            read.put_u8(*byte);
            assert_eq!(take(&mut read), Ok(None));
        }
        read.put_u8(bytes[bytes.len() - 1]);
        let taken = take(&mut read).unwrap().unwrap();
        assert_eq!(Named::decode(taken), Ok(sent));
        assert_eq!(take(&mut read), Ok(None));
    }

    #[test]
    fn what_is_compressed_or_too_large_is_refused() {
        let check = |bytes: [u8; 5], code| {
            assert_eq!(take(&mut BytesMut::from(&bytes[..])).unwrap_err().code, code);
        };
        check([1, 0, 0, 0, 1], Code::Unimplemented);
        check([0, 0x7f, 0, 0, 0], Code::ResourceExhausted);
    }
}
