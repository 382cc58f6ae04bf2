//! A minimal SMTP server on the loopback interface, which refuses configured recipients and stores accepted mails.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time without a command after which a connection is closed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mail that was accepted.
#[derive(Clone, Debug)]
pub struct Mail {
    pub to: String,
    pub text: String,
}

/// The reply for a recipient instead of "250".
#[derive(Clone, Debug)]
struct Refusal {
    answer: &'static str,
    /// Number of further times that it is sent.
    left: u32,
}

#[derive(Debug, Default)]
struct Office {
    accepted: Vec<Mail>,
    refusals: HashMap<String, Refusal>,
    /// Number of refusals by recipient.
    refused: HashMap<String, u32>,
}

/// The server; its threads end with the test process.
#[derive(Clone, Debug)]
pub struct PostOffice {
    address: String,
    office: Arc<Mutex<Office>>,
}

impl PostOffice {
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let office = Arc::new(Mutex::new(Office::default()));
        let there = Arc::clone(&office);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let office = Arc::clone(&there);
                // A mail whose connection breaks off is not accepted, so errors are ignored.
                std::thread::spawn(move || drop(converse(&stream, &office)));
            }
        });
        Self { address, office }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Refuses this recipient with this reply, this many times.
    pub fn refuse(&self, to: &str, answer: &'static str, times: u32) {
        self.office.lock().unwrap().refusals.insert(to.into(), Refusal { answer, left: times });
    }

    /// Accepts mails to this recipient from now on.
    pub fn accept(&self, to: &str) {
        self.office.lock().unwrap().refusals.remove(to);
    }

    /// Returns the accepted mails in their order.
    pub fn accepted(&self) -> Vec<Mail> {
        self.office.lock().unwrap().accepted.clone()
    }

    /// Returns how often a recipient was refused.
    pub fn refused(&self, to: &str) -> u32 {
        self.office.lock().unwrap().refused.get(to).copied().unwrap_or(0)
    }
}

impl Office {
    fn recipient(&mut self, to: &str) -> &'static str {
        match self.refusals.get_mut(to).filter(|refusal| refusal.left > 0) {
            Some(refusal) => {
                refusal.left -= 1;
                *self.refused.entry(to.into()).or_default() += 1;
                refusal.answer
            }
            None => "250 2.1.5 recipient is fine",
        }
    }
}

/// Serves a connection until QUIT or its end.
fn converse(stream: &TcpStream, office: &Mutex<Office>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream).lines();
    let say = |answer: &str| (&*stream).write_all(format!("{answer}\r\n").as_bytes());
    let mut recipients: Vec<String> = Vec::new();
    say("220 loopback.example.org ready")?;
    while let Some(line) = lines.next() {
        let line = line?;
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say("250-loopback.example.org\r\n250 8BITMIME")?,
            "HELO" => say("250 loopback.example.org")?,
            "MAIL" | "RSET" => {
                recipients.clear();
                say("250 2.0.0 go on")?;
            }
            "RCPT" => {
                let to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                let answer = office.lock().unwrap().recipient(&to);
                if answer.starts_with('2') {
                    recipients.push(to);
                }
                say(answer)?;
            }
            "DATA" if recipients.is_empty() => say("503 5.5.1 no recipient")?,
            "DATA" => {
                say("354 end with a line of one dot")?;
                let mut text = String::new();
                loop {
                    let line = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
                    if line == "." {
                        break;
                    }
                    // The client doubles a dot at the start of a line.
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                let mails = recipients.drain(..).map(|to| Mail { to, text: text.clone() });
                office.lock().unwrap().accepted.extend(mails);
                say("250 2.0.0 accepted")?;
            }
            "NOOP" => say("250 2.0.0 here")?,
            "QUIT" => return say("221 2.0.0 good night"),
            _ => say("502 5.5.2 not spoken here")?,
        }
    }
    Ok(())
}
