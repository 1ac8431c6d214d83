//! What happens, told to whoever listens: `$JS.EVENT.ADVISORY.>`.

use door::Parcel;
use serde_json::json;

use super::{JetStream, Request};

/// Where requests and their replies are told.
const AUDIT: &str = "$JS.EVENT.ADVISORY.API";

impl JetStream {
    /// Whether anybody listens to what the API is asked.
    pub(super) fn is_audited(&self) -> bool {
        !self.port.fabric().way(AUDIT).is_empty()
    }

    /// Tells of a request and its reply.
    pub(super) fn audit(&self, request: &Request, reply: &[u8]) {
        if !self.is_audited() {
            return;
        }
        let told = json!({
            "type": "io.nats.jetstream.advisory.v1.api_audit",
            "id": super::chance_id(),
            "timestamp": self.port.now().to_string(),
            "server": self.server_name,
            "client": {},
            "subject": request.subject,
            "request": String::from_utf8_lossy(&request.payload),
            "response": String::from_utf8_lossy(reply),
        });
        self.advise(AUDIT, &told);
    }

    /// Tells of something.
    pub(super) fn advise(&self, subject: &str, told: &serde_json::Value) {
        self.port.send(subject, &Parcel::new(subject, told.to_string().as_bytes()));
    }
}
