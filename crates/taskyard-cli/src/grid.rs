//! Tables for people. Cells are escaped here, so that no row can break out of its table.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::escape;

/// A table while it is filled.
pub(crate) struct Grid {
    table: Table,
    right: Vec<bool>,
}

impl Grid {
    /// A table with these headings; one that starts with `>` heads a column of numbers. Without any text there is no
    /// line of headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        Self::make(headings.iter().map(|heading| heading.trim_start_matches('>')), right)
    }

    /// A table whose headings come from elsewhere.
    pub(crate) fn with_headings(headings: &[String]) -> Self {
        Self::make(headings.iter().map(String::as_str), vec![false; headings.len()])
    }

    fn make<'a>(headings: impl Iterator<Item = &'a str>, right: Vec<bool>) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let headings: Vec<&str> = headings.collect();
        if headings.iter().any(|heading| !heading.is_empty()) {
            let cells = headings.iter().zip(&right).map(|(heading, right)| {
                aligned(Cell::new(escape::line(heading)).add_attribute(Attribute::Bold), *right)
            });
            table.set_header(cells.collect::<Vec<_>>());
        }
        Self { table, right }
    }

    /// Adds a row.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells
            .into_iter()
            .zip(&self.right)
            .map(|(text, right)| aligned(Cell::new(escape::line(text.as_ref())), *right))
            .collect::<Vec<_>>();
        self.table.add_row(cells);
    }

    /// The text: fitted to a terminal, or as wide as it is for a file or a pipe.
    pub(crate) fn render(mut self, terminal: bool) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if terminal {
            self.table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            self.table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        }
        let lines: Vec<String> = self.table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

fn aligned(cell: Cell, right: bool) -> Cell {
    if right { cell.set_alignment(CellAlignment::Right) } else { cell }
}
