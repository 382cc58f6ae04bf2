//! Parameters: their types, their patterns, and those that the server supplies.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use taskyard::{State, TaskContext, local, task};

use super::{Pool, run};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<(String, u32)>,
}

/// An application's own type named `State`, unrelated to the server's.
mod address {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) enum State {
        Ohio,
    }
}

#[task]
async fn changes(mut order: Order, mut count: u32) -> u32 {
    order.lines.clear();
    count += u32::try_from(order.lines.len()).unwrap_or(u32::MAX);
    count
}

#[task]
async fn state_as_a_pattern(State(pool): State<Pool>, to: String) -> String {
    format!("{to} by {}", pool.0)
}

#[task]
async fn context_last(to: String, _: TaskContext) -> String {
    to
}

#[task]
async fn context_in_the_middle(left: u32, context: TaskContext, State(pool): State<Pool>, right: u32) -> u32 {
    assert_eq!(&*pool.0, "pool");
    left + right + context.attempt()
}

#[task]
fn of_the_context_only(_context: taskyard::TaskContext) -> String {
    "context".into()
}

#[task]
async fn own_state(state: address::State) -> String {
    format!("{state:?}")
}

#[task]
async fn raw(r#type: String, r#match: Option<u8>) -> String {
    format!("{} {match:?}", r#type, match = r#match)
}

#[task]
async fn owned(
    text: Cow<'static, str>,
    table: HashMap<String, Vec<[u8; 2]>>,
    nested: Option<Box<(u8, char)>>,
) -> usize {
    text.len() + table.len() + usize::from(nested.is_some())
}

#[allow(clippy::many_single_char_names, reason = "as many as there can be")]
#[task]
async fn sixteen(
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    e: u8,
    f: u8,
    g: u8,
    h: u8,
    i: u8,
    j: u8,
    k: u8,
    l: u8,
    m: u8,
    n: u8,
    o: u8,
    p: u8,
    context: TaskContext,
) -> u32 {
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p].into_iter().map(u32::from).sum::<u32>() + context.attempt()
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_stored_or_supplied() {
    let order = Order { id: 1, lines: vec![("tea".into(), 2)] };
    assert_eq!(order.id, 1);
    assert_eq!(run(changes(order, 4)).await.unwrap(), 4);
    assert_eq!(run(state_as_a_pattern("ada".into())).await.unwrap(), "ada by pool");
    assert_eq!(run(context_last("ada".into())).await.unwrap(), "ada");
    assert_eq!(run(context_in_the_middle(1, 2)).await.unwrap(), 4);
    assert_eq!(run(of_the_context_only()).await.unwrap(), "context");
    assert_eq!(run(own_state(address::State::Ohio)).await.unwrap(), "Ohio");
    assert_eq!(run(raw("a".into(), Some(1))).await.unwrap(), "a Some(1)");
    assert_eq!(run(owned("ab".into(), HashMap::new(), Some(Box::new((1, 'x'))))).await.unwrap(), 3);
    assert_eq!(run(sixteen(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)).await.unwrap(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn captures_of_a_closure_are_stored() {
    let (name, factor) = (String::from("ada"), 2_usize);
    assert_eq!(run(local!(|name: String, factor: usize| async move { name.len() * factor })).await.unwrap(), 6);
    let name = String::from("ada");
    assert_eq!(run(local!(async move |name: String| name.len())).await.unwrap(), 3);
    let (a, b, c, d, e, f, g, h, i) = (1_u8, 1_u8, 1_u8, 1_u8, 1_u8, 1_u8, 1_u8, 1_u8, 1_u8);
    let sum = local!(|a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8| async move {
        a + b + c + d + e + f + g + h + i
    });
    assert_eq!(run(sum).await.unwrap(), 9);
}
