//! A TCP proxy whose connections can be made to fail, like the network between a program and its database.
//!
//! A [`Proxy`] forwards bytes on threads of its own, so it works from any runtime and while the test's runtime is busy.
//! Faults apply to existing connections, selected by the bytes that they have sent ([`Which`]); connections that are
//! opened later work unless [`Proxy::refuse`] was called.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Treatment of the bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Bytes are forwarded.
    #[default]
    None,
    /// Both directions swallow everything without an error: the host or the network is down.
    BlackHole,
    /// The client's bytes arrive, the server's responses do not.
    AnswersLost,
    /// Both ends are closed.
    Cut,
    /// Both ends are reset: bytes under way are lost, and both ends get an error.
    Reset,
    /// Each chunk is forwarded this much later.
    Delay(Duration),
}

/// Selects the connections of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// All existing connections.
    All,
    /// Connections whose client has sent this text at any time, for example the name of an SQL function.
    Sent(&'a str),
    /// Connections that have this fault now.
    Having(Fault),
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    fault: Mutex<Fault>,
    sent: Mutex<Vec<u8>>,
    open: AtomicBool,
}

impl Connection {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_sent(&self, text: &str) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.windows(text.len().max(1)).any(|part| part == text.as_bytes())
    }

    fn cut(&self) {
        self.open.store(false, Ordering::Release);
        if self.fault() == Fault::Reset {
            // Without lingering, the close after both directions have ended is a reset.
            for stream in [&self.client, &self.server] {
                let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            }
            return;
        }
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

/// Number of a client's bytes that are stored to recognise the purpose of its connection.
const SENT_KEPT: usize = 64 << 10;
/// Interval at which a stalled direction checks whether its fault is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Shared {
    connections: Mutex<Vec<Arc<Connection>>>,
    accepted: AtomicU64,
    refuses: AtomicBool,
    changes_keys: AtomicBool,
    closed: AtomicBool,
}

/// A proxy for one address; dropping it cuts all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free local port and forwards to `target`.
    ///
    /// # Panics
    /// If the system refuses a port or a thread.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::Builder::new()
            .name("proxy".into())
            .spawn(move || {
                for client in listener.incoming() {
                    if accepting.closed.load(Ordering::Acquire) {
                        return;
                    }
                    // Dropped unless both sides are connected.
                    let Ok(client) = client else { continue };
                    if !accepting.refuses.load(Ordering::Acquire) {
                        let _ = accepting.join(client, target);
                    }
                }
            })
            .expect("a thread for the proxy");
        Self { address, shared }
    }

    /// Starts a proxy for the server in a PostgreSQL address (`…@127.0.0.1:PORT/…`), and returns it with the address
    /// through it.
    ///
    /// # Panics
    /// If the address has no numeric host and port.
    #[must_use]
    pub fn for_url(url: &str) -> (Self, String) {
        let (before, rest) = url.split_once("://").expect("an address");
        let (place, after) = rest.split_once('/').expect("a database name");
        let (user, host) = place.rsplit_once('@').map_or(("", place), |(user, host)| (user, host));
        let proxy = Self::start(host.replace("localhost", "127.0.0.1").parse().expect("a numeric host and port"));
        let at = if user.is_empty() { "" } else { "@" };
        let through = format!("{before}://{user}{at}{}/{after}", proxy.address);
        (proxy, through)
    }

    /// Returns the address on which the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Applies a fault to existing connections, and returns to how many.
    pub fn fault(&self, which: Which<'_>, fault: Fault) -> usize {
        let mut connections = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.open.load(Ordering::Acquire));
        let mut count = 0;
        for connection in connections.iter() {
            let is_meant = match which {
                Which::All => true,
                Which::Sent(text) => connection.has_sent(text),
                Which::Having(fault) => connection.fault() == fault,
            };
            if !is_meant {
                continue;
            }
            *connection.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
            if matches!(fault, Fault::Cut | Fault::Reset) {
                connection.cut();
            }
            count += 1;
        }
        connections.retain(|connection| connection.open.load(Ordering::Acquire));
        count
    }

    /// Sets whether new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Release);
    }

    /// From now on, new connections get keys for their cancel requests that are not the server's, as from a pooler.
    pub fn change_keys(&self) {
        self.shared.changes_keys.store(true, Ordering::Release);
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.fault(Which::All, Fault::Cut);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn join(&self, client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        let server = TcpStream::connect(target)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LOOK_EVERY))?;
        }
        let connection = Arc::new(Connection {
            client,
            server,
            fault: Mutex::default(),
            sent: Mutex::default(),
            open: AtomicBool::new(true),
        });
        let changes_keys = self.changes_keys.load(Ordering::Acquire);
        self.accepted.fetch_add(1, Ordering::AcqRel);
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&connection));
        for from_client in [true, false] {
            let connection = Arc::clone(&connection);
            thread::Builder::new().name("proxied".into()).spawn(move || {
                // The end of one direction ends the connection.
                let _ = forward(&connection, from_client, changes_keys);
                connection.cut();
            })?;
        }
        Ok(())
    }
}

fn forward(connection: &Connection, from_client: bool, changes_keys: bool) -> std::io::Result<()> {
    let (mut from, mut to) =
        if from_client { (&connection.client, &connection.server) } else { (&connection.server, &connection.client) };
    let mut buffer = vec![0; 64 << 10];
    while connection.open.load(Ordering::Acquire) {
        let count = match from.read(&mut buffer) {
            // In a black hole, the end of one side is not passed on either.
            Ok(0) if connection.fault() == Fault::BlackHole => {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error),
        };
        if from_client {
            let mut sent = connection.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.extend_from_slice(&buffer[..count]);
            let excess = sent.len().saturating_sub(SENT_KEPT);
            sent.drain(..excess);
        }
        if changes_keys && !from_client {
            change_key(&mut buffer[..count]);
        }
        match connection.fault() {
            Fault::None => {}
            Fault::BlackHole => continue,
            Fault::AnswersLost if !from_client => continue,
            Fault::AnswersLost => {}
            Fault::Cut | Fault::Reset => return Ok(()),
            Fault::Delay(delay) => thread::sleep(delay),
        }
        to.write_all(&buffer[..count])?;
    }
    Ok(())
}

/// Changes the process number in the message that carries a connection's key, if it is in these bytes. The server sends it with
/// the end of the authentication, in one piece.
fn change_key(bytes: &mut [u8]) {
    const HEAD: &[u8] = b"K\0\0\0\x0c";
    if let Some(at) = bytes.windows(HEAD.len() + 8).position(|part| part.starts_with(HEAD)) {
        bytes[at + HEAD.len()] ^= 0x40;
    }
}
