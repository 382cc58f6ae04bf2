//! The process number in a connection's cancel key.
//!
//! The driver shows the key only in the cancel request that it writes, so the request is written to memory. For a connection that
//! must be encrypted the driver asks for TLS first; the answer is yes, and [`Plain`] stands for the encrypted stream.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// A request for TLS: its length and a code, of four bytes each.
const TLS_REQUEST: usize = 8;
/// A cancel request: its length, a code, the process and a secret, of four bytes each.
const CANCEL_REQUEST: usize = 16;
/// The longest time that this may take; nothing here waits for anything outside of this process.
const READ_MAX: Duration = Duration::from_secs(1);

/// Returns the process number; `None` if the driver writes something else.
pub(super) async fn process(client: &Client) -> Option<i32> {
    let (near, far) = tokio::io::duplex(CANCEL_REQUEST * 4);
    let token = client.cancel_token();
    let both = async { tokio::join!(token.cancel_query_raw(near, Unencrypted), read(far)) };
    let (written, process) = timeout(READ_MAX, both).await.ok()?;
    written.ok()?;
    process
}

async fn read(mut far: DuplexStream) -> Option<i32> {
    let mut length = read_number(&mut far).await?;
    if length == TLS_REQUEST {
        read_number(&mut far).await?;
        far.write_all(b"S").await.ok()?;
        length = read_number(&mut far).await?;
    }
    if length != CANCEL_REQUEST {
        return None;
    }
    read_number(&mut far).await?;
    far.read_i32().await.ok()
}

async fn read_number(far: &mut DuplexStream) -> Option<usize> {
    usize::try_from(far.read_i32().await.ok()?).ok()
}

/// Leaves the stream as it is.
struct Unencrypted;

impl TlsConnect<DuplexStream> for Unencrypted {
    type Stream = Plain;
    type Error = io::Error;
    type Future = Ready<io::Result<Plain>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(Plain(stream)))
    }
}

struct Plain(DuplexStream);

impl TlsStream for Plain {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
