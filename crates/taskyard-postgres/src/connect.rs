//! Opens connections, and cancels statements that were given up.

use std::future::poll_fn;

use taskyard_core::{Error, Result};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, NoTls, Socket};

use crate::address::{Address, Protection};
use crate::{failure, tls};

/// Time limit for the request that cancels a statement.
const CANCEL_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Opens a connection for statements.
pub(crate) async fn open(address: &Address) -> Result<Client> {
    open_with(address, None).await
}

/// Opens a connection that also forwards the channel names of the notifications it receives. The receiver ends when the
/// connection does.
pub(crate) async fn open_listening(address: &Address) -> Result<(Client, mpsc::UnboundedReceiver<String>)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    Ok((open_with(address, Some(sender)).await?, receiver))
}

/// Asks the server to cancel the statement that a connection is running. Best effort: the caller has given the
/// connection up, and an error is only logged.
pub(crate) async fn cancel(address: &Address, client: &Client) {
    let token = client.cancel_token();
    let sent = timeout(CANCEL_MAX, async {
        if address.protection == Protection::None {
            token.cancel_query(NoTls).await.map_err(|error| failure::of_statement(&error))
        } else {
            token.cancel_query(tls::connector(address)?).await.map_err(|error| failure::of_statement(&error))
        }
    });
    if let Ok(Err(error)) = sent.await {
        tracing::debug!(%error, "a statement that timed out could not be cancelled");
    }
}

async fn open_with(address: &Address, notified: Option<mpsc::UnboundedSender<String>>) -> Result<Client> {
    // The driver's limit applies to each host and ends before the handshake does.
    let limit = address.config.get_connect_timeout().copied().unwrap_or(std::time::Duration::from_secs(5));
    let late = || Error::Connection(format!("{}: no answer within {} s", address.shown, limit.as_secs_f32()));
    let client = if address.protection == Protection::None {
        timeout(limit, connect_by(address, NoTls, notified)).await
    } else {
        timeout(limit, connect_by(address, tls::connector(address)?, notified)).await
    };
    client.map_err(|_| late())?
}

async fn connect_by<T>(address: &Address, tls: T, notified: Option<mpsc::UnboundedSender<String>>) -> Result<Client>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, mut connection) =
        address.config.connect(tls).await.map_err(|error| failure::of_connect(&error, &address.shown))?;
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let (AsyncMessage::Notification(notification), Some(notified)) = (message, &notified) {
                // An error means that the receiver was dropped: the connection goes on until its client is dropped.
                let _ = notified.send(notification.channel().to_owned());
            }
        }
    });
    Ok(client)
}
