//! Rows whose cells stand under one another.

use crate::output::Palette;

/// Where a cell's text stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table: a headline, then rows of as many cells.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with these columns. A headline of empty names is not printed.
    pub(crate) fn new(heads: &[(&'static str, Align)]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().take(self.heads.len()).collect();
        cells.resize(self.heads.len(), String::new());
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each indented by two blanks and without blanks at its end.
    pub(crate) fn render(&self, palette: Palette) -> String {
        let widths = self.widths();
        let mut text = String::new();
        if self.heads.iter().any(|(name, _)| !name.is_empty()) {
            let names: Vec<String> = self.heads.iter().map(|(n, _)| (*n).to_owned()).collect();
            text += &format!("  {}\n", palette.faint(&self.line(&names, &widths)));
        }
        for row in &self.rows {
            text += &format!("  {}\n", self.line(row, &widths));
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.heads[column].0.len()]).max().unwrap_or(0)
        };
        (0..self.heads.len()).map(width).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.heads) {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line += &format!("{cell}{gap}  "),
                Align::Right => line += &format!("{gap}{cell}  "),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_one_another_and_lines_end_without_blanks() {
        let mut table = Columns::new(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.row(["a".to_owned(), "1 234".to_owned()]);
        table.row(["längeres".to_owned()]);
        assert_eq!(
            table.render(Palette::PLAIN),
            "  NAME          N\n  a         1 234\n  längeres\n"
        );
    }

    #[test]
    fn a_headline_without_names_is_left_out() {
        let mut table = Columns::new(&[("", Align::Left)]);
        table.row(["a".to_owned()]);
        assert_eq!(table.render(Palette::PLAIN), "  a\n");
    }
}
