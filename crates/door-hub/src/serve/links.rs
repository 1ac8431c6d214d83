//! stub
use super::receiver::Receiver;
use super::shared::{Connection, Shared};
use crate::codec::Place;
use crate::options::Link;
use bytes::Bytes;
use door::PublishError;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
pub(crate) struct LinkDriver;
pub(super) async fn drive(_s: Arc<Shared>, _stop: CancellationToken) {}
impl LinkDriver {
    pub(crate) fn new(_node: &str) -> Self {
        LinkDriver
    }
    pub(crate) fn set(&self, _l: Vec<Link>) {}
    pub(crate) fn listing(&self) -> serde_json::Value {
        serde_json::Value::Array(Vec::new())
    }
    pub(crate) async fn interconnect(&self, _s: &Arc<Shared>, _a: &str) -> Result<String, String> {
        Err("no".into())
    }
    pub(crate) fn counts(&self) -> (u64, u64) {
        (0, 0)
    }
    pub(crate) fn accepted(&self, s: &Arc<Shared>, c: &Arc<Connection>) {
        super::http::listen(s, c, Receiver::new(s, c));
    }
    pub(crate) fn lost(&self, _s: &Arc<Shared>, _c: &Arc<Connection>) {}
    pub(crate) fn arrived(&self, _shared: &Shared, _c: &Connection, _place: &Place) -> Option<Bytes> {
        None
    }
    pub(crate) fn settled(&self, _c: &Arc<Connection>, _place: &Place, _o: Result<(), PublishError>) {}
    pub(crate) fn acknowledged(&self, _c: &Connection, _ack: &Place) {}
    pub(crate) fn pong(&self, _shared: &Shared, _c: &Connection, _payload: &[u8]) {}
}
