//! Monitoring over HTTP.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::session::Shared;

pub(super) async fn serve(_listener: TcpListener, _shared: Arc<Shared>, stopping: CancellationToken) {
    stopping.cancelled().await;
}
