//! Client.
/// x
#[derive(Debug)]
pub struct Client;
/// x
#[derive(Debug)]
pub struct TaskRef;
