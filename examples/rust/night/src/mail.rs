//! Mails over SMTP, one task each.
//!
//! The reply of the mail server decides: 4xx (busy, full, greylisted) and a server that cannot be reached are retried; 5xx (no
//! such mailbox) is permanent, and the task becomes a dead letter with the mail server's message.
//!
//! SMTP has no transactions: if a worker dies between the mail server's "250" and the end of the task, the mail is sent again.
//! The Message-ID stays the same, by which mail servers and readers detect the duplicate.

use std::time::Duration;

use lettre::transport::smtp;
use lettre::{Message, SmtpTransport, Transport as _};
use taskyard::{Call, RetryPolicy, State, TaskContext, TaskError, task};

use crate::shop::Shop;

const FROM: &str = "Night Shop <shop@example.org>";
/// Time without a reply after which the mail server counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a mail; returns its Message-ID.
#[task(queue = "mail", max_retries = 8)]
pub fn send(
    to: String,
    subject: String,
    text: String,
    context: TaskContext,
    shop: State<Shop>,
) -> Result<String, TaskError> {
    let id = format!("<{}@night.example.org>", context.idempotency_key());
    let address = to.parse().map_err(|error| TaskError::fail(format!("{to}: {error}")).with_type("BadAddress"))?;
    let message = Message::builder()
        .from(FROM.parse()?)
        .to(address)
        .message_id(Some(id.clone()))
        .subject(subject)
        .body(text)
        .map_err(|error| TaskError::fail(error.to_string()).with_type("BadMail"))?;
    let shop = shop.0;
    // "Dangerous" because the connection is not encrypted, which is acceptable for a mail server on this host.
    let server = SmtpTransport::builder_dangerous(shop.smtp_host).port(shop.smtp_port).timeout(Some(PATIENCE)).build();
    server.send(&message).map_err(|error| failure(&to, &error))?;
    Ok(id)
}

fn failure(to: &str, error: &smtp::Error) -> TaskError {
    let message = format!("{to}: {error}");
    if error.is_permanent() {
        TaskError::fail(message).with_type("MailRefused")
    } else {
        // The retry policy decides about the next attempt.
        TaskError::new("MailDelayed", message)
    }
}

/// Returns the mail to a customer about an order. The first retries are soon, because most delays of a mail server are short.
pub fn order_ready(customer: u32) -> Call<String> {
    let policy = RetryPolicy { max_retries: 8, backoff_ms: 100, cap_ms: 60_000, ..RetryPolicy::default() };
    let text = format!("Dear customer {customer},\r\n\r\nyour order is ready.\r\n");
    send(format!("customer-{customer}@example.org"), "Your order".into(), text).retry(policy).tag("order ready")
}
