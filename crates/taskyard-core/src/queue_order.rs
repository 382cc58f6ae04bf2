//! The order in which a server takes tasks from its queues, and the text of the settings for it.
//!
//! `critical,default,low` names queues; `critical:3,default:1` gives them weights. A colon followed by anything but a
//! number belongs to the name; a queue whose name ends in a colon and a number is written with its weight (`a:7:1`).

use std::str::FromStr;

/// Largest weight of a queue.
pub const WEIGHT_MAX: u32 = 10_000;

/// The order in which a server takes tasks from its queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueueOrder {
    /// By priority, then age, over all queues.
    #[default]
    Priority,
    /// A queue only if the queues before it have no task that can start.
    Strict,
    /// This many tasks of each queue in turn; the share of a queue without tasks goes to the others.
    Weights(Vec<u32>),
}

/// The setting `queue_order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderWord {
    /// The default; if any queue has a weight, the same as `Weights`.
    #[default]
    Priority,
    /// [`QueueOrder::Strict`].
    Strict,
    /// [`QueueOrder::Weights`]; a queue without a weight has 1.
    Weights,
}

impl FromStr for OrderWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "priority" => Ok(Self::Priority),
            "strict" => Ok(Self::Strict),
            "weights" => Ok(Self::Weights),
            other => Err(format!("`{other}` is not one of priority, strict, weights")),
        }
    }
}

/// Parses the setting `queues`: each queue with its weight, if it has one.
///
/// # Errors
/// A description of the problem.
pub fn parse(text: &str) -> Result<Vec<(String, Option<u32>)>, String> {
    let mut queues: Vec<(String, Option<u32>)> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, weight) = match part.rsplit_once(':') {
            Some((name, weight)) if weight.trim().parse::<f64>().is_ok() => (name.trim(), Some(weigh(name, weight)?)),
            _ => (part, None),
        };
        if name.is_empty() {
            return Err(format!("`{part}` has a weight, but no name"));
        }
        if queues.iter().any(|(known, _)| known == name) {
            return Err(format!("queue `{name}` is named twice"));
        }
        queues.push((name.to_owned(), weight));
    }
    Ok(queues)
}

fn weigh(name: &str, text: &str) -> Result<u32, String> {
    match text.trim().parse::<u32>() {
        Ok(weight) if (1..=WEIGHT_MAX).contains(&weight) => Ok(weight),
        _ => Err(format!("the weight `{text}` of queue `{name}` is not a whole number from 1 to {WEIGHT_MAX}")),
    }
}

/// Returns the order given by the number of queues, their weights and the setting `queue_order`.
///
/// # Errors
/// A description of the conflict.
pub fn decide(queues: usize, weights: &[Option<u32>], word: OrderWord) -> Result<QueueOrder, String> {
    let weighed = weights.iter().any(Option::is_some);
    match word {
        OrderWord::Strict if weighed => {
            Err("weights have no effect with the order strict: leave out the weights or the order".into())
        }
        OrderWord::Strict | OrderWord::Weights if queues == 0 => {
            Err("an order of queues needs their names: set `queues`".into())
        }
        OrderWord::Strict => Ok(QueueOrder::Strict),
        OrderWord::Priority if !weighed => Ok(QueueOrder::Priority),
        OrderWord::Priority | OrderWord::Weights => {
            Ok(QueueOrder::Weights(weights.iter().map(|weight| weight.unwrap_or(1)).collect()))
        }
    }
}

/// Checks that queues and their order fit together.
///
/// # Errors
/// A description of the conflict.
pub fn check(queues: Option<&[String]>, order: &QueueOrder) -> Result<(), String> {
    let queues = queues.unwrap_or_default();
    for (at, name) in queues.iter().enumerate() {
        if queues[..at].contains(name) {
            return Err(format!("queue `{name}` is named twice"));
        }
    }
    match order {
        QueueOrder::Priority => Ok(()),
        _ if queues.is_empty() => Err("an order of queues needs their names".into()),
        QueueOrder::Weights(weights) if weights.len() != queues.len() => {
            Err(format!("{} weights for {} queues", weights.len(), queues.len()))
        }
        QueueOrder::Weights(weights) if weights.iter().any(|weight| !(1..=WEIGHT_MAX).contains(weight)) => {
            Err(format!("a weight is a whole number from 1 to {WEIGHT_MAX}"))
        }
        QueueOrder::Strict | QueueOrder::Weights(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(queues: &str, word: &str) -> Result<QueueOrder, String> {
        let weights: Vec<_> = parse(queues)?.into_iter().map(|(_, weight)| weight).collect();
        decide(weights.len(), &weights, word.parse()?)
    }

    #[test]
    fn names_and_weights_are_told_apart() {
        assert_eq!(order("critical:3, default", "priority"), Ok(QueueOrder::Weights(vec![3, 1])));
        assert_eq!(order("a,b", "weights"), Ok(QueueOrder::Weights(vec![1, 1])));
        assert_eq!(order("a,b", "strict"), Ok(QueueOrder::Strict));
        assert_eq!(order("a,b", "priority"), Ok(QueueOrder::Priority));
        assert_eq!(order("", "priority"), Ok(QueueOrder::Priority));
        assert_eq!(parse("mail:fast,a:7:1").unwrap(), [("mail:fast".into(), None), ("a:7".into(), Some(1))]);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (queues, word, part) in [
            ("a:0", "priority", "`0` of queue `a`"),
            ("a:-1", "priority", "`-1`"),
            ("a:1.5", "priority", "`1.5`"),
            ("a:inf", "priority", "`inf`"),
            ("a:10001", "priority", "10000"),
            (":3", "priority", "no name"),
            ("a,b,a", "priority", "`a` is named twice"),
            ("a:1,a:2", "priority", "`a` is named twice"),
            ("a:2,b", "strict", "weights"),
            ("", "strict", "`queues`"),
            ("", "weights", "`queues`"),
            ("a", "random", "not one of priority, strict, weights"),
        ] {
            let error = order(queues, word).unwrap_err();
            assert!(error.contains(part), "{queues} {word}: {error}");
        }
        let names = ["a".to_owned(), "b".to_owned()];
        assert!(check(Some(&names), &QueueOrder::Weights(vec![1])).is_err());
        assert!(check(Some(&names), &QueueOrder::Weights(vec![1, 0])).is_err());
        assert!(check(None, &QueueOrder::Strict).is_err());
        assert!(check(Some(&["a".to_owned(), "a".to_owned()]), &QueueOrder::Priority).is_err());
        assert!(check(Some(&names), &QueueOrder::Weights(vec![1, 2])).is_ok());
    }
}
