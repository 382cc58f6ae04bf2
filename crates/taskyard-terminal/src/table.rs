//! Tables as text. Cells are escaped here, so that no row can break out of its table.
//!
//! On a terminal each row is one line. Cells that do not fit are cut with `…`, except ids, states and numbers; columns that are
//! marked as optional are left out before others become too narrow to read. A table without headings has a name and a value
//! in each row, and a long value is wrapped below itself. In a file or a pipe nothing is cut or wrapped.

use std::borrow::Cow;

use taskyard_core::TaskId;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use crate::escape;
use crate::style::Style;

/// Spaces between two columns.
const GAP: usize = 2;
/// Least width to which a column is cut; a column with shorter content may be narrower.
const CUT_MIN: usize = 8;
/// Headings of columns that contain states.
const STATES: [&str; 3] = ["STATE", "LAST END", "OUTCOME"];

/// A table that is being filled.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// Whether rows may be longer than the terminal is wide.
    is_whole: bool,
}

struct Column {
    heading: String,
    is_number: bool,
    is_optional: bool,
}

impl Table {
    /// Creates a table with these headings. A prefix `>` marks a column of numbers, a prefix `?` a column that a narrow terminal
    /// does not show. If all headings are empty, there is no line of headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let column = |heading: &str| {
            let (is_optional, heading) = heading.strip_prefix('?').map_or((false, heading), |rest| (true, rest));
            let (is_number, heading) = heading.strip_prefix('>').map_or((false, heading), |rest| (true, rest));
            Column { heading: heading.to_owned(), is_number, is_optional }
        };
        Self { columns: headings.map(column).into(), rows: Vec::new(), is_whole: false }
    }

    /// Creates a table with headings from a query, of which nothing is cut.
    pub fn with_headings(headings: &[String]) -> Self {
        let column = |heading: &String| Column {
            heading: escape::line(heading).into_owned(),
            is_number: false,
            is_optional: false,
        };
        Self { columns: headings.iter().map(column).collect(), rows: Vec::new(), is_whole: true }
    }

    /// Adds a row.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|text| escape::line(text.as_ref()).into_owned()).collect());
    }

    /// Returns the table as text, fitted to a terminal.
    pub fn render(&self, style: Style) -> String {
        let lines = if self.columns.iter().all(|column| column.heading.is_empty()) {
            self.pairs(style)
        } else {
            self.table(style)
        };
        lines.join("\n")
    }

    fn table(&self, style: Style) -> Vec<String> {
        let shown = self.widths(style.width.filter(|_| !self.is_whole));
        let headings = shown.iter().map(|&(at, width)| {
            let column = &self.columns[at];
            style.heading(&padded(&column.heading, width, column.is_number))
        });
        let mut lines = vec![joined(headings)];
        lines.extend(self.rows.iter().map(|row| {
            joined(shown.iter().map(|&(at, width)| {
                let column = &self.columns[at];
                let cell = padded(row.get(at).map_or("", String::as_str), width, column.is_number);
                if STATES.contains(&column.heading.as_str()) { style.state(&cell) } else { cell }
            }))
        }));
        lines
    }

    /// Returns the indexes of the columns that are shown, each with its width.
    fn widths(&self, terminal: Option<usize>) -> Vec<(usize, usize)> {
        let natural: Vec<usize> = (0..self.columns.len())
            .map(|at| self.cells(at).map(UnicodeWidthStr::width).max().unwrap_or(0).max(self.heading_width(at)))
            .collect();
        let least: Vec<usize> = natural
            .iter()
            .enumerate()
            .map(|(at, &width)| if self.is_kept(at) { width } else { width.min(self.heading_width(at).max(CUT_MIN)) })
            .collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(terminal) = terminal else { return shown.into_iter().map(|at| (at, natural[at])).collect() };
        let gaps = |shown: &[usize]| shown.len().saturating_sub(1) * GAP;
        while shown.iter().map(|&at| least[at]).sum::<usize>() + gaps(&shown) > terminal {
            let Some(last) = shown.iter().rposition(|&at| self.columns[at].is_optional) else { break };
            shown.remove(last);
        }
        let mut widths: Vec<(usize, usize)> = shown.iter().map(|&at| (at, natural[at])).collect();
        let mut over = (widths.iter().map(|(_, width)| width).sum::<usize>() + gaps(&shown)).saturating_sub(terminal);
        while over > 0 {
            let widest = widths.iter_mut().filter(|(at, width)| *width > least[*at]).max_by_key(|(_, width)| *width);
            let Some((_, width)) = widest else { break };
            *width -= 1;
            over -= 1;
        }
        widths
    }

    fn cells(&self, at: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(move |row| row.get(at)).map(String::as_str)
    }

    fn heading_width(&self, at: usize) -> usize {
        self.columns[at].heading.width()
    }

    /// Returns whether a column must not be cut.
    fn is_kept(&self, at: usize) -> bool {
        let column = &self.columns[at];
        column.is_number
            || STATES.contains(&column.heading.as_str())
            || self.cells(at).any(|cell| cell.len() == 36 && cell.parse::<TaskId>().is_ok())
    }

    /// Renders a table without headings: names and their values.
    fn pairs(&self, style: Style) -> Vec<String> {
        let is_number = |at: usize| self.columns.get(at).is_some_and(|column| column.is_number);
        let width = |at: usize| self.cells(at).map(UnicodeWidthStr::width).max().unwrap_or(0);
        let (names, values) = (width(0), width(1));
        let room = style.width.map(|width| width.saturating_sub(names + GAP)).filter(|room| *room >= CUT_MIN);
        let mut lines = Vec::new();
        for row in &self.rows {
            let name = row.first().map_or("", String::as_str);
            let value = row.get(1).map_or("", String::as_str);
            let parts = room.map_or_else(|| vec![value.to_owned()], |room| wrapped(value, room));
            for (at, part) in parts.iter().enumerate() {
                let name = padded(if at == 0 { name } else { "" }, names, is_number(0));
                let part = if is_number(1) { padded(part, values, true) } else { part.clone() };
                let part = if matches!(name.trim(), "state" | "health") { style.state(&part) } else { part };
                lines.push(joined([name, part].into_iter()));
            }
        }
        lines
    }
}

fn joined(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    cells.join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// Returns a cell as wide as its column, padded with spaces or cut.
fn padded(text: &str, width: usize, right: bool) -> String {
    let text = cut(text, width);
    let fill = " ".repeat(width.saturating_sub(text.width()));
    if right { format!("{fill}{text}") } else { format!("{text}{fill}") }
}

fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut used = 1;
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used > width {
            break;
        }
        shown.push(letter);
    }
    shown.push('…');
    Cow::Owned(shown)
}

/// Breaks a text between words into lines; a word longer than a line stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn tasks() -> Table {
        let mut table = Table::new(["ID", "STATE", "NAME", "?QUEUE", "?>ATTEMPT", "ADDED", "WHY"]);
        table.row([ID, "enqueued", "app.mail:send_newsletter", "newsletters", "1", "3m 20s ago", ""]);
        table.row([ID, "failed", "app.mail:send", "mail", "12", "2d 3h ago", "ValueError: \u{1b} a\nlong message"]);
        table
    }

    #[test]
    fn a_row_is_one_line_and_its_id_is_whole() {
        for width in [80, 100, 132] {
            let style = Style { width: Some(width), colours: false };
            let text = tasks().render(style);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text}");
            assert!(lines.iter().all(|line| line.width() <= width), "{width}:\n{text}");
            assert!(lines[1..].iter().all(|line| line.starts_with(ID)), "{text}");
            assert!(text.contains("enqueued") && text.contains("3m 20s") && text.contains("app.mai"), "{text}");
            assert_eq!(text.contains("QUEUE"), width > 80, "{text}");
        }
        let file = tasks().render(Style::default());
        assert!(
            file.contains("ValueError: \\u{1b} a long message") && file.contains("app.mail:send_newsletter"),
            "{file}"
        );
    }

    #[test]
    fn states_have_colours_and_nothing_else_has() {
        let style = Style { width: Some(200), colours: true };
        let text = tasks().render(style);
        assert!(text.contains("\u{1b}[31mfailed  \u{1b}[0m") && text.contains("\u{1b}[34menqueued\u{1b}[0m"), "{text}");
        assert_eq!(text.matches("\u{1b}[0m").count(), 7 + 2, "{text}");
    }

    #[test]
    fn a_long_value_goes_on_below_itself() {
        let mut table = Table::new(["", ""]);
        table.row(["id", ID]);
        table.row(["health", "no server is alive; one task is parked"]);
        let style = Style { width: Some(30), colours: false };
        assert_eq!(
            table.render(style),
            format!("id      {ID}\nhealth  no server is alive;\n        one task is parked")
        );
    }
}
