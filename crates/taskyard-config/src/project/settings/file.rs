//! Reads `taskyard.toml` and `[tool.taskyard]` in pyproject.toml: settings with plain values or lists of text.

use taskyard_core::Error;
use taskyard_core::redact::redact;
use taskyard_core::settings::Layer;
use toml::{Table, Value};

use crate::project::error::ConfigError;
use crate::project::root::Root;

/// Returns one layer per existing file, in rising order of precedence.
///
/// # Errors
/// [`ConfigError`] if a file is not trusted, is not valid TOML or contains a value of another type.
pub(super) fn layers(root: &Root) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    for (name, section) in [("taskyard.toml", &[][..]), ("pyproject.toml", &["tool", "taskyard"])] {
        let path = root.path.join(name);
        let Some(text) = super::read_optional(root, &path)? else { continue };
        let place = path.display().to_string();
        match text.parse::<Table>() {
            Ok(table) => {
                let Some(table) = at(&table, section) else { continue };
                layers.push(Layer { values: values(table, &place)?, place, strict: true });
            }
            Err(error) => {
                let at = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
                let line = at.map_or(String::new(), |line| format!("line {line}: "));
                return Err(Error::Setting { name: place, why: format!("{line}{}", redact(error.message())) }.into());
            }
        }
    }
    Ok(layers)
}

fn at<'a>(table: &'a Table, section: &[&str]) -> Option<&'a Table> {
    section.iter().try_fold(table, |table, name| table.get(*name)?.as_table())
}

fn values(table: &Table, place: &str) -> Result<Vec<(String, String)>, ConfigError> {
    table
        .iter()
        .map(|(name, value)| match plain(value) {
            Some(text) => Ok((name.clone(), text)),
            None => Err(Error::Setting {
                name: format!("{} ({place})", redact(name)),
                why: "expected a string, a number, true, false or a list of strings".into(),
            }
            .into()),
        })
        .collect()
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        _ => None,
    }
}
