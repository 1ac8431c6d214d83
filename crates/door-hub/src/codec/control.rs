//! What two nodes of this kind say to each other on a link besides events: frames of text, JSON.
//!
//! Ahead of an event of a kept room `{"at":{"stream":"ROOMS","seq":7}}`; from whoever received it, once it
//! is recorded or delivered, `{"ack":{"stream":"ROOMS","seq":7}}`.

use serde::{Deserialize, Serialize};

/// A position in a stream of the sender's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The stream.
    pub stream: String,
    /// The position.
    pub seq: u64,
}

/// One frame of text. What is not known is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Where the event of the next frame stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// Whose event was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Place>,
}

impl Control {
    /// The frame's meaning; `None` where it has none.
    pub fn parse(text: &[u8]) -> Option<Control> {
        serde_json::from_slice(text).ok()
    }

    /// The frame's bytes.
    pub fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back() {
        let place = Place { stream: "ROOMS".into(), seq: 7 };
        let at = Control { at: Some(place.clone()), ack: None };
        assert_eq!(at.text(), br#"{"at":{"stream":"ROOMS","seq":7}}"#);
        assert_eq!(Control::parse(&at.text()), Some(at));
        let ack = Control { at: None, ack: Some(place) };
        assert_eq!(Control::parse(&ack.text()), Some(ack));
        assert_eq!(Control::parse(b"{\"later\":1}"), Some(Control::default()));
        assert_eq!(Control::parse(b"x"), None);
    }
}
